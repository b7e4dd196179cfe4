"""`python -m memctl`."""

import sys

from memctl.cli.main import main

sys.exit(main())
