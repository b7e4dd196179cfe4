"""History on the bundled model: neither order nor batch matters, and what is forgotten is gone to the bit."""

import pytest
from real_examples import TWELVE, write

from memctl.backends.protocol import Backend
from memctl.progress import silent
from memctl.settings import Settings
from memctl.store.store import Store
from memctl.store.verify import verify
from memctl.wake.forget import forget
from memctl.wake.verify_deep import verify_deep


def test_order_and_batch_do_not_matter_and_forgetting_is_exact(
    store: Store, backend: Backend, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    facts = TWELVE[:3]
    empty = store.head()
    write(store, backend, settings, *facts)
    together = store.head().composition
    compositions = {}
    other = Store.create(tmp_path_factory.mktemp("order") / "store", store.base)
    facts = (facts[2], facts[0], facts[1])
    for fact in facts:
        write(other, backend, settings, fact)
        compositions[frozenset(entry.id for entry in other.ledger().active())] = other.head().composition
    assert other.head().composition == together
    assert other.head().weights == store.head().weights
    forget(store, backend, settings, [facts[-1].id], wait=0, dry_run=False, progress=silent)
    left = frozenset(fact.id for fact in facts[:-1])
    assert store.head().composition == compositions[left]
    assert verify_deep(store, backend) == []
    forget(store, backend, settings, [fact.id for fact in facts[:-1]], wait=0, dry_run=False, progress=silent)
    assert store.head().composition == empty.composition
    assert store.head().weights == {}
    assert verify_deep(store, backend) == []
    assert verify(store.path).findings == ()
