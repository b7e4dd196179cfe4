"""History on the bundled model: neither order nor batch matters, and what is forgotten is gone to the bit.

    python experiments/history.py [--facts 12] [--seed 104] [--orders 3] [--at-once 1] [--steps N] [--look-alikes N,N]

Tells the same facts in one batch, and in shuffled orders, so many at once; forgets the last ones, then all; rolls back. Every
line printed is a comparison of hashes. Bits are compared, not answers, so that hundreds of facts may do with a short search.
Writes experiments/results/history-N.json.
"""

import argparse
import json
import random
import sys
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
parser.add_argument("--at-once", type=int, default=1)
parser.add_argument("--steps", help="of the search")
parser.add_argument("--look-alikes", help="that a unit is told from")
arguments = parser.parse_args()

flags = {"backend": "torch", "edit.steps": arguments.steps, "edit.look_alikes": arguments.look_alikes}
settings = load_settings(flags).settings
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
        groups = [order[begin : begin + arguments.at_once] for begin in range(0, len(order), arguments.at_once)]
        for group in groups:
            without = store.head().composition
            tell(store, *group)
        check(
            f"order {k}, {arguments.at_once} at once: the batch's composition", store.head().composition == together.composition
        )
        check(f"order {k}, {arguments.at_once} at once: the batch's tensors", store.head().weights == together.weights)
    forget(batch, backend, settings, [fact.id for fact in groups[-1]], wait=0, dry_run=False, progress=silent)
    check("the last forgotten: the composition of the store that never had them", batch.head().composition == without)
    check("the last forgotten: verify --deep is clean", verify_deep(batch, backend) == [])
    forget(
        batch, backend, settings, [fact.id for group in groups[:-1] for fact in group], wait=0, dry_run=False, progress=silent
    )
    check("all forgotten: the base's composition", batch.head().composition == first.composition)
    check("all forgotten: no tensor is changed, verify --deep is clean", verify_deep(batch, backend) == [])
    with store.writer(command="rollback") as writer:
        writer.rollback(list(store.log())[-1].id)
    check("rolled back to the first snapshot: the base's composition", store.head().composition == first.composition)
    check("rolled back: verify --deep is clean", verify_deep(store, backend) == [] and not store.head().weights)
    check("verify is clean", verify(batch.path).findings == () == verify(store.path).findings)

target = Path(__file__).parent / "results" / f"history-{arguments.facts}.json"
report = {
    "command": " ".join(["python", "experiments/history.py", *sys.argv[1:]]),
    "model": {"name": settings.model, "fingerprint": backend.fingerprint},
    "seconds": round(time.monotonic() - started),
    "checks": checks,
}
target.write_text(json.dumps(report, indent=2) + "\n")
raise SystemExit(0 if all(checks.values()) else 1)
