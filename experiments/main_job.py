"""The figures of the README: recall, locality and drift of an edit on the bundled model, beside plain MEMIT.

    python experiments/main_job.py [--facts 12] [--seeds 101 102 103] [--plain]

Settings were tuned on the facts of seed 1; report other seeds. Writes experiments/results/main_job-N[-plain].json.
"""

import argparse
import json
import platform
import time
from pathlib import Path
from statistics import fmean

import msgspec
import torch
import transformers

from memctl import __version__
from memctl.backends.factory import open_backend
from memctl.deltas import compose
from memctl.editing.edit import edited_layer, find_traces, solve
from memctl.editing.statistics import covariance, statistics
from memctl.editing.values import Subject
from memctl.evaluation.drift import measure_drift
from memctl.evaluation.invented import invented_facts, strangers
from memctl.evaluation.locality import locality, relation_bleed
from memctl.evaluation.recall import FactRecall, recall
from memctl.progress import silent
from memctl.settings import load_settings

parser = argparse.ArgumentParser()
parser.add_argument("--facts", type=int, default=12)
parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
parser.add_argument("--plain", action="store_true", help="plain MEMIT: no added units")
arguments = parser.parse_args()

settings = load_settings({"backend": "torch"}).settings
edit = msgspec.structs.replace(settings.edit, units=0) if arguments.plain else settings.edit
backend = open_backend(settings, None, silent)
layer = edited_layer(backend, edit)
statistics(backend, layer, silent)
if arguments.plain:
    covariance(backend, layer, silent)


def means(found: list[FactRecall]) -> dict[str, float]:
    return {name: round(fmean(getattr(one, name) for one in found), 3) for name in ("raw", "chat", "raw_new", "chat_new")}


def measured(seed: int) -> dict[str, object]:
    facts = invented_facts(arguments.facts, seed)
    subjects = [Subject(fact.subject, (fact,)) for fact in facts]
    before = recall(backend, facts, silent)
    started = time.perf_counter()
    traces = [found.trace for found in find_traces(backend, subjects, edit, silent)]
    composition = compose((delta, 1.0) for delta in solve(backend, traces, edit, silent))
    seconds = (time.perf_counter() - started) / len(facts)
    with backend.attached(composition):
        after = recall(backend, facts, silent)
    names = strangers(40, seed, [fact.subject for fact in facts])
    return {
        "seed": seed,
        "without": means(before),
        "with": means(after),
        "locality": msgspec.to_builtins(locality(backend, composition, facts, names, silent)),
        "relation_bleed": msgspec.to_builtins(relation_bleed(backend, composition, facts, silent)),
        "drift": msgspec.to_builtins(measure_drift(backend, composition, silent)),
        "seconds_per_fact": round(seconds, 2),
    }


def write(results: list[dict[str, object]]) -> None:
    report = {
        "command": f"python experiments/main_job.py --facts {arguments.facts}" + " --plain" * arguments.plain,
        "model": {"name": settings.model, "fingerprint": backend.fingerprint},
        "settings": msgspec.to_builtins(edit),
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "versions": {"memctl": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
        "results": results,
    }
    name = f"main_job-{arguments.facts}{'-plain' * arguments.plain}.json"
    (Path(__file__).parent / "results" / name).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


results: list[dict[str, object]] = []
for seed in arguments.seeds:
    results.append(measured(seed))
    print(json.dumps(results[-1]), flush=True)
    write(results)
