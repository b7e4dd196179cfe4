"""History on the bundled model: neither order nor batch matters, and what is forgotten is gone to the bit.

    python experiments/history.py [--facts 12] [--seed 104] [--orders 3]

Tells the same facts in one batch, and one by one in shuffled orders; forgets one, then all; rolls back. Every line printed is a
comparison of hashes. Writes experiments/results/history-N.json.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from memctl.backends.factory import open_backend
from memctl.evaluation.invented import invented_facts
from memctl.facts import Fact, Provenance
from memctl.progress import silent
from memctl.settings import load_settings
from memctl.store.records import BaseRef
from memctl.store.store import Store
from memctl.store.verify import verify
from memctl.wake.fact_record import Told
from memctl.wake.forget import forget
from memctl.wake.inject import inject
from memctl.wake.verify_deep import verify_deep

parser = argparse.ArgumentParser()
parser.add_argument("--facts", type=int, default=12)
parser.add_argument("--seed", type=int, default=104)
parser.add_argument("--orders", type=int, default=3)
arguments = parser.parse_args()

settings = load_settings({"backend": "torch"}).settings
backend = open_backend(settings, None, silent)
facts = invented_facts(arguments.facts, arguments.seed)
checks: dict[str, bool] = {}
started = time.monotonic()


def check(what: str, held: bool) -> None:
    checks[what] = held
    print(f"{time.monotonic() - started:6.0f} s  {'yes' if held else 'NO '}  {what}", flush=True)


def tell(store: Store, *told: Fact) -> None:
    inject(
        store,
        backend,
        settings,
        [Told(fact, Provenance(source="experiment")) for fact in told],
        wait=0.0,
        force=True,  # what cannot be read back is compared too
        dry_run=False,
        progress=silent,
    )


def new_store(name: str) -> Store:
    return Store.create(Path(folder) / name, BaseRef(settings.model, backend.fingerprint))


with tempfile.TemporaryDirectory() as folder:
    batch = new_store("batch")
    first = batch.head()
    tell(batch, *facts)
    together = batch.head()
    without = ""
    for k in range(arguments.orders):
        order = list(facts)
        random.Random(k).shuffle(order)
        store = new_store(f"order{k}")
        for fact in order:
            without = store.head().composition
            tell(store, fact)
        check(f"order {k}, one by one: the batch's composition", store.head().composition == together.composition)
        check(f"order {k}, one by one: the batch's tensors", store.head().weights == together.weights)
    forget(batch, backend, settings, [order[-1].id], wait=0, dry_run=False, progress=silent)
    check("one forgotten: the composition of the store that never had it", batch.head().composition == without)
    check("one forgotten: verify --deep is clean", verify_deep(batch, backend) == [])
    forget(batch, backend, settings, [fact.id for fact in order[:-1]], wait=0, dry_run=False, progress=silent)
    check("all forgotten: the base's composition", batch.head().composition == first.composition)
    check("all forgotten: no tensor is changed, verify --deep is clean", verify_deep(batch, backend) == [])
    with store.writer(command="rollback") as writer:
        writer.rollback(list(store.log())[-1].id)
    check("rolled back to the first snapshot: the base's composition", store.head().composition == first.composition)
    check("rolled back: verify --deep is clean", verify_deep(store, backend) == [] and not store.head().weights)
    check("verify is clean", verify(batch.path).findings == () == verify(store.path).findings)

target = Path(__file__).parent / "results" / f"history-{arguments.facts}.json"
report = {
    "command": f"python experiments/history.py --facts {arguments.facts} --seed {arguments.seed}",
    "model": {"name": settings.model, "fingerprint": backend.fingerprint},
    "seconds": round(time.monotonic() - started),
    "checks": checks,
}
target.write_text(json.dumps(report, indent=2) + "\n")
raise SystemExit(0 if all(checks.values()) else 1)
