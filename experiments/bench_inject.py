"""Seconds per fact and peak memory of `inject`, beside one forward pass over the same tokens.

    python experiments/bench_inject.py [--facts 12]

Prints one line of JSON. The ratio is what later work has to beat: it does not depend on the machine as seconds do.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from memctl.backends.factory import open_backend
from memctl.editing.cues import training_cues
from memctl.editing.edit import edited_layer
from memctl.editing.statistics import statistics
from memctl.evaluation.invented import invented_facts
from memctl.facts import Provenance
from memctl.progress import silent
from memctl.settings import load_settings
from memctl.store.records import BaseRef
from memctl.store.store import Store
from memctl.wake.memory import Told, inject

parser = argparse.ArgumentParser()
parser.add_argument("--facts", type=int, default=12)
parser.add_argument("--seed", type=int, default=7)
arguments = parser.parse_args()

settings = load_settings({}).settings
backend = open_backend(settings, None, silent)
statistics(backend, edited_layer(backend, settings.edit), silent)
facts = invented_facts(arguments.facts, arguments.seed)
cues = [cue for fact in facts for cue in training_cues(fact)]
texts = [backend.encode(cue.prompt, cue.mode, cue.target).tokens for cue in cues]
backend.score(texts)
started = time.perf_counter()
backend.score(texts)
forward = time.perf_counter() - started
with tempfile.TemporaryDirectory() as folder:
    store = Store.create(Path(folder) / "store", BaseRef(settings.model, backend.fingerprint))
    report = inject(
        store,
        backend,
        settings,
        [Told(fact, Provenance()) for fact in facts],
        wait=0,
        force=True,
        dry_run=False,
        progress=silent,
    )
print(
    json.dumps(
        {
            "facts": len(facts),
            "seconds_per_fact": round(report.seconds / len(facts), 2),
            "forward_seconds_per_fact": round(forward / len(facts), 3),
            "ratio": round(report.seconds / forward, 1),
            "peak_memory_gib": round(backend.memory_bytes() / 2**30, 2),
            "drift": report.drift,
        }
    )
)
