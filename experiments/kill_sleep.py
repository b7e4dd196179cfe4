"""Sleeps of the bundled model that are killed at random moments: the memory is the one before or the one after, never between.

    python experiments/kill_sleep.py [--facts 3] [--seed 105] [--kills 50]

One sleep is left alone and timed. Then, from the same memory, sleeps are killed (SIGKILL) at moments drawn evenly from that
time, each followed by a check of HEAD and of `memctl verify`, every tenth also of recall. Whenever one ends by itself, the next
begins again from the memory before. All that end must come to the composition of the one left alone. Writes
experiments/results/kill-sleep.json.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from memctl.evaluation.invented import invented_facts
from memctl.store.store import Store
from memctl.store.verify import verify

parser = argparse.ArgumentParser()
parser.add_argument("--facts", type=int, default=3)
parser.add_argument("--seed", type=int, default=105)
parser.add_argument("--kills", type=int, default=50)
arguments = parser.parse_args()

COMMAND = (sys.executable, "-m", "memctl.cli.main")


def memctl(store: Path, *words: str, stdin: str = "") -> str:
    """A command that has to succeed; what it says."""
    ran = subprocess.run((*COMMAND, *words, "--store", str(store)), input=stdin, capture_output=True, text=True, check=True)
    return ran.stdout


def asleep(store: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        (*COMMAND, "sleep", "-q", "--store", str(store)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def recall(store: Path) -> tuple[float, float]:
    """Raw and chat recall, in a process of its own."""
    found = json.loads(memctl(store, "audit", "--json").splitlines()[-1])
    return found["raw"], found["chat"]


with tempfile.TemporaryDirectory() as folder:
    before, work, alone = Path(folder) / "before", Path(folder) / "work", Path(folder) / "alone"
    facts = invented_facts(arguments.facts, arguments.seed)
    lines = [json.dumps({"subject": fact.subject, "relation": fact.relation, "object": fact.object}) for fact in facts]
    memctl(before, "init")
    memctl(before, "inject", "-", "--force", stdin="\n".join(lines) + "\n")
    old, old_recall = Store.open(before).head(), recall(before)

    shutil.copytree(before, alone)
    started = time.monotonic()
    if asleep(alone).wait() != 0:
        sys.exit("the sleep that was left alone did not succeed")
    lasts = time.monotonic() - started
    new, new_recall = Store.open(alone).head().composition, recall(alone)
    print(f"left alone: {lasts:.0f} s; recall {old_recall} before, {new_recall} after", flush=True)

    draw = random.Random(arguments.seed)
    ended: Counter[str] = Counter()
    shutil.copytree(before, work)
    kills = resumed = 0
    while kills < arguments.kills:
        moment = draw.uniform(0, lasts)
        night = asleep(work)
        try:
            night.wait(moment)
            outcome = "ended by itself"
        except subprocess.TimeoutExpired:
            night.kill()
            night.wait()
            kills += 1
            outcome = "killed"
        head, findings = Store.open(work).head(), verify(work).findings
        state = "after" if head.composition == new else "before" if head.id == old.id else "BETWEEN"
        found = recall(work) if kills % 10 == 0 else (new_recall if state == "after" else old_recall)
        fine = state != "BETWEEN" and not findings and found == (new_recall if state == "after" else old_recall)
        resumed += (work / "sleep" / "state").exists()
        ended[f"{outcome}, memory as {state}"] += 1
        print(
            f"{kills:3d}  {outcome} ({moment:5.1f} s): memory as {state}, {'fine' if fine else f'NOT FINE {findings} {found}'}",
            flush=True,
        )
        if not fine:
            sys.exit(1)
        if state == "after":
            shutil.rmtree(work)
            shutil.copytree(before, work)
    record = {
        "facts": arguments.facts,
        "seed": arguments.seed,
        "kills": kills,
        "kills_that_left_work_to_go_on_from": resumed,
        "seconds_left_alone": round(lasts, 1),
        "ended": dict(sorted(ended.items())),
        "cpus": os.cpu_count(),
    }
    path = Path(__file__).parent / "results" / "kill-sleep.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))
