"""Memories that a suite tells facts to, in the work folder of its run."""

import shutil
from collections.abc import Sequence

from memctl.bench.suite import Bench
from memctl.facts import Fact, Provenance
from memctl.store.records import BaseRef
from memctl.store.store import Store
from memctl.wake.fact_record import Told
from memctl.wake.inject import inject


def fresh(bench: Bench, name: str) -> Store:
    """An empty store in the work folder, which takes the place of one that an interrupted run left."""
    folder = bench.work / name
    shutil.rmtree(folder, ignore_errors=True)
    return Store.create(folder, BaseRef("bench", bench.backend.fingerprint), backend=bench.settings.backend)


def tell(bench: Bench, store: Store, facts: Sequence[Fact]) -> float:
    """Writes facts in one batch, as `inject --force` does; its seconds."""
    told = [Told(fact, Provenance(source="bench")) for fact in facts]
    return inject(
        store, bench.backend, bench.settings, told, wait=0, force=True, dry_run=False, progress=bench.progress
    ).seconds
