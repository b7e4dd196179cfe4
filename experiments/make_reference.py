"""Samples the reference text that ships for the bundled model, and writes it into the package's data.

python experiments/make_reference.py
"""

from pathlib import Path

from memctl.backends.torch_backend import TorchBackend
from memctl.editing.reference import REFERENCE_TOKENS, file_name, sample, save
from memctl.models.source import fetch, find

backend = TorchBackend(fetch(find("bundled")))
texts = sample(backend, REFERENCE_TOKENS, lambda what, done, total: print(f"{what}: {done:,}/{total:,}", end="\r"))
target = Path(__file__).parent.parent / "memctl" / "data" / file_name(backend)
save(target, texts)
print(f"\n{sum(map(len, texts)):,} tokens in {len(texts):,} sequences → {target.name}, {target.stat().st_size:,} bytes")
