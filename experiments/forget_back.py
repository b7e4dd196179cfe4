"""A large memory's history is exact to the bit: what is forgotten is gone, and what is told again is what it was.

    python experiments/forget_back.py LATER EARLIER [--again 16]

LATER is a store, and EARLIER a copy of it from when it held some of its facts. In a copy of LATER all other facts are
forgotten; the composition and the hashes of its tensors are to be those of EARLIER. In another copy the facts told last are
forgotten and told again in another order, three at a time; it is to be what it was. Nothing in LATER and EARLIER is changed.
Needs the settings and the threads (OMP_NUM_THREADS) that the facts were told with. Writes experiments/results/forget-N.json,
N the facts of LATER.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from memctl.backends.factory import open_backend
from memctl.facts import Provenance
from memctl.settings import load_settings
from memctl.store.store import Store
from memctl.store.verify import verify
from memctl.wake.fact_record import Told
from memctl.wake.forget import forget
from memctl.wake.inject import inject
from memctl.wake.verify_deep import verify_deep


def said(what: str, done: int, total: int) -> None:
    print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)


def copied(store: Path, name: str) -> Store:
    return Store.open(Path(shutil.copytree(store, Path(folder) / name)))


parser = argparse.ArgumentParser()
parser.add_argument("later", type=Path)
parser.add_argument("earlier", type=Path)
parser.add_argument("--again", type=int, default=16, help="facts that are forgotten and told again")
arguments = parser.parse_args()

settings = load_settings({"backend": "torch"}).settings
backend = open_backend(settings, None, said)
earlier, checks = Store.open(arguments.earlier), {}
with tempfile.TemporaryDirectory() as folder:
    later = copied(arguments.later, "forgotten")
    before, facts = later.head(), later.ledger().entries
    kept = earlier.ledger().entries
    others = [fact for fact in facts if fact not in kept]
    started = time.monotonic()
    forget(later, backend, settings, others, wait=0, dry_run=False, progress=said)
    seconds = time.monotonic() - started
    checks["before: another composition than the earlier one"] = before.composition != earlier.head().composition
    checks["forgotten: the earlier composition"] = later.head().composition == earlier.head().composition
    checks["forgotten: the earlier tensors"] = later.head().weights == earlier.head().weights
    checks["forgotten: verify is clean"] = verify(later.path).findings == ()
    checks["forgotten: verify --deep is clean"] = verify_deep(later, backend) == []

    later = copied(arguments.later, "again")
    newest = sorted(facts.values(), key=lambda entry: entry.provenance.time)[-arguments.again :]
    again = [entry.fact for entry in newest]
    forget(later, backend, settings, [fact.id for fact in again], wait=0, dry_run=False, progress=said)
    checks["some forgotten: another composition"] = later.head().composition != before.composition
    random.Random(0).shuffle(again)
    for begin in range(0, len(again), 3):
        told = [Told(fact, Provenance(source="experiment")) for fact in again[begin : begin + 3]]
        inject(later, backend, settings, told, wait=0, force=True, dry_run=False, progress=said)
    checks["told again in another order: the composition it was"] = later.head().composition == before.composition
    checks["told again in another order: the tensors they were"] = later.head().weights == before.weights
report = {
    "facts": len(facts),
    "forgotten": len(others),
    "told_again": len(again),
    "model": {"name": settings.model, "fingerprint": backend.fingerprint},
    "hardware": backend.hardware,
    "threads": os.environ.get("OMP_NUM_THREADS"),
    "seconds_to_forget": round(seconds),
    "checks": checks,
}
target = Path(__file__).parent / "results" / f"forget-{len(facts)}.json"
target.write_text(json.dumps(report, indent=2) + "\n")
print(json.dumps(report, indent=2))
raise SystemExit(0 if all(checks.values()) else 1)
