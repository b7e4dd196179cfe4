"""Chooses the wordings on which recall is measured, and writes them into the bank of relations.

    python experiments/choose_held_out.py [RELATION …]

A wording that the base model cannot answer with the fact in front of it measures reading, not memory. Candidates are
a relation's held-out wordings and the last of its training ones; of those, the ones that the base answers best in
context (over invented people and the relation's own objects) become the held-out ones, and the others train. One that shares
most of its words with another wording of the relation is no candidate: it would not be new.
"""

import json
import re
import sys
from pathlib import Path

from memctl.backends.torch_backend import TorchBackend
from memctl.editing.relations import Relation, bank
from memctl.evaluation.invented import people
from memctl.evaluation.recall import completions, names
from memctl.facts import Mode
from memctl.models.source import fetch, find
from memctl.progress import silent

TRIALS = 4
KEEP: dict[Mode, tuple[int, int]] = {"raw": (4, 2), "chat": (8, 3)}
"""Fewest wordings that stay for training, and how many are held out."""

path = Path(__file__).parent.parent / "memctl" / "data" / "relations.json"
backend = TorchBackend(fetch(find("bundled")))


def choose(relation: Relation, mode: Mode) -> tuple[list[str], list[str]]:
    """Training and held-out wordings of a relation."""
    trained, held = (
        (relation.raw, relation.held_out.raw) if mode == "raw" else (relation.questions, relation.held_out.questions)
    )
    least, count = KEEP[mode]
    others = (*relation.raw, *relation.questions, *relation.held_out.raw, *relation.held_out.questions)
    candidates = [
        form for form in (*held, *trained[least:]) if not any(alike(form, other) for other in others if other != form)
    ]
    if len(candidates) < count:
        return list(trained), list(held)
    trials = [
        (form, name, relation.objects[(5 * k + 1) % len(relation.objects)])
        for form in candidates
        for k, name in enumerate(people(TRIALS, 99, sharing=2))
    ]
    prompts = []
    for form, name, thing in trials:
        told = relation.answer[0].replace("{s}", name).replace("{o}", thing)
        prompts.append((mode, f"{told} {form.replace('{s}', name)}"))
    texts = completions(backend, prompts, silent, "")
    score = dict.fromkeys(candidates, 0)
    for (form, _, thing), text in zip(trials, texts, strict=True):
        score[form] += names(text, thing, relation.objects)
    best = sorted(candidates, key=lambda form: (-score[form], candidates.index(form)))[:count]
    print(relation.id, mode, [(form, score[form]) for form in best], flush=True)
    return [form for form in (*trained, *held) if form not in best], best


def alike(form: str, other: str) -> bool:
    """Whether two wordings share more than half of their words."""
    a, b = (set(re.findall(r"\w+", text.replace("{s}", "").casefold())) for text in (form, other))
    return len(a & b) > 0.5 * len(a | b)


for id in sys.argv[1:] or list(bank()):
    data = json.loads(path.read_text(encoding="utf-8"))
    entry = next(found for found in data["relations"] if found["id"] == id)
    entry["raw"], entry["held_out"]["raw"] = choose(bank()[id], "raw")
    entry["questions"], entry["held_out"]["questions"] = choose(bank()[id], "chat")
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
