"""Whether what is composed now is what was committed."""

from memctl.backends.protocol import Backend
from memctl.editing.fold import weight_hashes
from memctl.store.check import Finding
from memctl.store.store import Store
from memctl.wake.live import Memory


def verify_deep(store: Store, backend: Backend) -> list[Finding]:
    """Composes HEAD from the base and compares every tensor's hash with the one recorded at commit."""
    memory = Memory.current(store)
    head, found = memory.head, []
    if (fresh := backend.rehash()) != head.base:
        found.append(Finding("base", "base", f"the base model's tensors hash to {fresh[:12]}, not {head.base[:12]}"))
    composed = weight_hashes(backend, memory.composition)
    for name in sorted(composed.keys() | head.weights.keys()):
        if composed.get(name) != head.weights.get(name):
            found.append(Finding(f"snapshots/{head.id}.json", "weights", f"{name} is not what was committed"))
    return found
