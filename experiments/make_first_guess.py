"""Measures the mean value of the bundled model's edited layer, from which searches begin, into the package's data.

python experiments/make_first_guess.py
"""

from pathlib import Path

from memctl.backends.torch_backend import TorchBackend
from memctl.editing.edit import edited_layer
from memctl.editing.first_guess import file_name, keep, measure
from memctl.editing.statistics import statistics
from memctl.models.source import fetch, find
from memctl.settings import EditSettings


def show(what: str, done: int, total: int) -> None:
    print(f"{what}: {done:,}/{total:,}", end="\r", flush=True)


backend = TorchBackend(fetch(find("bundled")))
layer = edited_layer(backend, EditSettings())
norm = float(statistics(backend, layer, show).output_norm[0])
target = Path(__file__).parent.parent / "memctl" / "data" / file_name(backend, layer)
keep(target, measure(backend, layer, norm, show))
print(f"\n{target.name}, {target.stat().st_size:,} bytes")
