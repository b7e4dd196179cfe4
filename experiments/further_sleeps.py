"""Sleeps of the bundled model with nothing new to learn: no fact is lost, the drift stays the same, nothing is stored.

    python experiments/further_sleeps.py [--facts 5] [--seed 105] [--sleeps 10]

Facts are told, and slept over until every one is at stage 3. Then it sleeps on, each time in a process of its own, followed by
an audit. Writes experiments/results/further-sleeps.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from memctl.evaluation.invented import invented_facts
from memctl.store.store import Store

parser = argparse.ArgumentParser()
parser.add_argument("--facts", type=int, default=5)
parser.add_argument("--seed", type=int, default=105)
parser.add_argument("--sleeps", type=int, default=10)
arguments = parser.parse_args()

MOST_NIGHTS = 6


def memctl(store: Path, *words: str, stdin: str = "") -> Any:
    """The last record of a command that has to succeed."""
    words = (sys.executable, "-m", "memctl.cli.main", *words, "--json", "--store", str(store))
    ran = subprocess.run(words, input=stdin, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def seen(store: Path) -> dict[str, Any]:
    """What an audit says, and what the store holds."""
    found = memctl(store, "audit")
    ledger = Store.open(store).ledger()
    objects = sorted(path.name for path in (store / "objects").rglob("*") if path.is_file())
    return {
        "raw": found["raw"],
        "chat": found["chat"],
        "drift": found["drift"],
        "head": Store.open(store).head().id,
        "objects": len(objects),
        "stages": sorted(entry.stage for entry in ledger.active()),
    }


with tempfile.TemporaryDirectory() as folder:
    store = Path(folder) / "memory"
    facts = invented_facts(arguments.facts, arguments.seed)
    lines = [json.dumps({"subject": fact.subject, "relation": fact.relation, "object": fact.object}) for fact in facts]
    memctl(store, "init")
    memctl(store, "inject", "-", "--force", stdin="\n".join(lines) + "\n")
    nights = 0
    while nights < MOST_NIGHTS and set(seen(store)["stages"]) != {3}:
        memctl(store, "sleep")
        nights += 1
        print(f"night {nights}: stages {seen(store)['stages']}", flush=True)
    states = [seen(store)]
    for number in range(arguments.sleeps):
        memctl(store, "sleep")
        states.append(seen(store))
        print(f"further sleep {number + 1}: {states[-1]}", flush=True)

report = {
    "facts": arguments.facts,
    "seed": arguments.seed,
    "nights until stage 3": nights,
    "before": states[0],
    "after each": states[1:],
    "unlike the one before": sum(state != states[0] for state in states[1:]),
}
target = Path(__file__).parent / "results" / "further-sleeps.json"
target.write_text(json.dumps(report, indent=2) + "\n")
print(target)
