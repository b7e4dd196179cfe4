"""How often a stored subject, asked about something else, is answered with its stored object: of one memory, at several sizes.

    python experiments/ask_other_relations.py STORE --seed 301 --sizes 100,300,1000 [--probed 50]

STORE holds the facts that `memctl bench capacity` draws by that seed. Copies of it forget all but the first so many. Writes
experiments/results/other-relations-SEED.json.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from memctl.backends.factory import open_backend
from memctl.bench.measure import of_some
from memctl.evaluation.invented import invented_facts
from memctl.evaluation.locality import other_relations, relation_bleed
from memctl.progress import silent
from memctl.settings import load_settings
from memctl.store.store import Store
from memctl.wake.forget import forget
from memctl.wake.live import composition

parser = argparse.ArgumentParser()
parser.add_argument("store", type=Path)
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--sizes", required=True)
parser.add_argument("--probed", type=int, default=50)
arguments = parser.parse_args()
sizes = [int(size) for size in arguments.sizes.split(",")]

settings = load_settings({"backend": "torch"}).settings
backend = open_backend(settings, Store.open(arguments.store), silent)
facts = invented_facts(max(sizes), arguments.seed)
found = []
for size in sizes:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(shutil.copytree(arguments.store, Path(folder) / "store")))
        kept = {fact.id for fact in facts[:size]}
        others = [entry.id for entry in store.ledger().active() if entry.id not in kept]
        forget(store, backend, settings, others, wait=0, dry_run=False, progress=silent)
        memory = composition(store)
    some = of_some(facts[:size], arguments.probed)
    bled = relation_bleed(backend, memory, some, silent)
    found.append({"facts": size, "questions": len(other_relations(some)), "raw": bled.raw, "chat": bled.chat})
    print(found[-1], flush=True)
target = Path(__file__).parent / "results" / f"other-relations-{arguments.seed}.json"
report = {
    "model": settings.model,
    "hardware": backend.hardware,
    "seed": arguments.seed,
    "probed": arguments.probed,
    "sizes": found,
}
target.write_text(json.dumps(report, indent=2) + "\n")
