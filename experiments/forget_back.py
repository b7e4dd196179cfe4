"""A large memory's history is exact: what is forgotten leaves nothing, and what is told again is what it was, by hash.

    python experiments/forget_back.py LATER EARLIER [--again 16]

LATER is a store, and EARLIER a copy of it that was made when it held some of its facts: `memctl bench` removes its stores when
it ends, so copies are to be made while it runs. In a copy of LATER all other facts are forgotten; the hashes of the composition
and of its tensors are to be those of EARLIER. In another copy the newest facts are forgotten and told again in another order,
three at a time; these hashes are to be what they were. Nothing in LATER and EARLIER is changed. Needs the settings and the
threads (OMP_NUM_THREADS) that the newest facts were told with. Writes experiments/results/forget-N.json, N the facts of LATER.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import torch

from memctl.backends.factory import open_backend
from memctl.bench.report import machine, versions
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


def clean(store: Store) -> bool:
    return verify(store.path).findings == () and verify_deep(store, backend) == []


parser = argparse.ArgumentParser()
parser.add_argument("later", type=Path)
parser.add_argument("earlier", type=Path)
parser.add_argument("--again", type=int, default=16, help="facts that are forgotten and told again")
arguments = parser.parse_args()

settings = load_settings({"backend": "torch"}).settings  # of the user: a store that a bench made has none
source, earlier = Store.open(arguments.later), Store.open(arguments.earlier)
backend = open_backend(settings, source, said)
facts = source.ledger().active()
kept = {entry.id for entry in earlier.ledger().active()}
others = [entry.id for entry in facts if entry.id not in kept]
if not kept < {entry.id for entry in facts}:
    parser.error(f"the facts of {arguments.earlier} are not a part of those of {arguments.later}")
before, checks = source.head(), {}
with tempfile.TemporaryDirectory() as folder:
    later = Store.open(Path(shutil.copytree(arguments.later, Path(folder) / "forgotten")))
    started = time.monotonic()
    forget(later, backend, settings, others, wait=0, dry_run=False, progress=said)
    seconds = time.monotonic() - started
    checks["before: another composition than the earlier one"] = before.composition != earlier.head().composition
    checks["forgotten: the earlier composition"] = later.head().composition == earlier.head().composition
    checks["forgotten: the earlier tensors"] = later.head().weights == earlier.head().weights
    checks["forgotten: verify and verify --deep are clean"] = clean(later)

    later = Store.open(Path(shutil.copytree(arguments.later, Path(folder) / "again")))
    newest = sorted(facts, key=lambda entry: entry.provenance.time)[-arguments.again :]
    forget(later, backend, settings, [entry.id for entry in newest], wait=0, dry_run=False, progress=said)
    checks["the newest forgotten: another composition"] = later.head().composition != before.composition
    random.Random(0).shuffle(newest)
    for begin in range(0, len(newest), 3):
        told = [Told(entry.fact, Provenance(source="experiment")) for entry in newest[begin : begin + 3]]
        inject(later, backend, settings, told, wait=0, force=True, dry_run=False, progress=said)
    checks["told again in another order: the composition it was"] = later.head().composition == before.composition
    checks["told again in another order: the tensors they were"] = later.head().weights == before.weights
    checks["told again: verify and verify --deep are clean"] = clean(later)
report = {
    "command": f"python experiments/forget_back.py LATER EARLIER --again {arguments.again}",
    "facts": len(facts),
    "forgotten": len(others),
    "told_again": len(newest),
    "model": {"name": settings.model, "fingerprint": backend.fingerprint},
    "settings": {"edit": msgspec.to_builtins(settings.edit)},
    "machine": machine(backend.hardware) | {"threads": torch.get_num_threads()},
    "versions": versions(),
    "seconds_to_forget": round(seconds),
    "checks": checks,
}
target = Path(__file__).parent / "results" / f"forget-{len(facts)}.json"
target.write_text(json.dumps(report, indent=2) + "\n")
print(json.dumps(report, indent=2))
raise SystemExit(0 if all(checks.values()) else 1)
