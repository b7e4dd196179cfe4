"""Consolidation without edits: an adapter learns invented facts, and everything it can do harm to is measured.

    python experiments/consolidate.py 12 --seed 101 lora.rank=8 lora.learning_rate=1e-3

Prints one JSON record: settings that differ from the defaults, recall, bleed, unchanged answers, drift, seconds.
"""

import argparse
import json
import resource
import sys
import time

import msgspec

from memctl.backends.factory import open_backend
from memctl.consolidation.train import consolidate
from memctl.deltas import Composition, compose
from memctl.editing.edit import edited_layer, find_traces, solve
from memctl.editing.values import Subject
from memctl.evaluation.drift import measure_drift
from memctl.evaluation.invented import invented_facts, strangers
from memctl.evaluation.locality import locality, relation_bleed
from memctl.evaluation.recall import recall
from memctl.progress import Progress, silent
from memctl.settings import load_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("facts", type=int)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--strangers", type=int, default=60)
    parser.add_argument("--relations", type=int, default=6, help="other relations asked of each subject")
    parser.add_argument("--no-drift", action="store_true")
    parser.add_argument("settings", nargs="*", help="such as lora.rank=8")
    given = parser.parse_intermixed_args()
    changed = dict(setting.split("=", 1) for setting in given.settings)
    settings = load_settings({"store": "/nowhere", **changed}).settings
    backend = open_backend(settings, None, silent)
    facts = invented_facts(given.facts, given.seed)
    traces = [
        one.trace for one in find_traces(backend, [Subject(fact.subject, (fact,)) for fact in facts], settings.edit, silent)
    ]
    edits = compose([(delta, 1.0) for delta in solve(backend, traces, settings.edit, silent)])
    started, spent = time.monotonic(), cpu()
    layer = edited_layer(backend, settings.edit)
    found = consolidate(backend, facts, layer, edits.columns(layer), settings.lora, timed())
    seconds, spent = time.monotonic() - started, cpu() - spent
    record = {
        "facts": given.facts,
        "seed": given.seed,
        **changed,
        "steps": found.steps,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(spent, 1),
    }
    for check in found.checks:
        print(json.dumps(msgspec.to_builtins(check)))
    print(json.dumps(record), flush=True)
    adapter = Composition(adapter=found.adapter)
    with backend.attached(adapter):
        scores = recall(backend, facts, silent)
    for name in ("raw", "chat", "raw_new", "chat_new"):
        record[name] = round(sum(getattr(score, name) for score in scores) / len(scores), 3)
    print(json.dumps(record), flush=True)
    unseen = strangers(given.strangers, given.seed + 1, [fact.subject for fact in facts])
    near = msgspec.to_builtins(locality(backend, adapter, facts, unseen, silent))
    other = msgspec.to_builtins(relation_bleed(backend, adapter, facts, silent, given.relations))
    record |= {name: round(value, 3) for name, value in near.items()}
    record |= {f"relation_bleed_{mode}": round(value, 3) for mode, value in other.items()}
    print(json.dumps(record), flush=True)
    if not given.no_drift:
        drift = measure_drift(backend, adapter, silent)
        record |= {"drift": round(drift.perplexity, 5), "divergence_text": round(drift.divergence, 5)}
    record["peak_mib"] = backend.memory_bytes() >> 20
    print(json.dumps(record), flush=True)


def timed() -> Progress:
    """Says on stderr now and then how much time was spent."""

    def progress(what: str, done: int, total: int) -> None:
        if done % 20 == 0:
            print(f"{what} {done}/{total} {cpu():.0f} s", file=sys.stderr, flush=True)

    return progress


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
