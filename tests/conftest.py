"""For all tests: one BLAS thread a process, since the tests run in several and would wait for each other's threads."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
