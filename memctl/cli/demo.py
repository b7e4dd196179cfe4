"""`memctl demo`: a model learns, recalls, and forgets exactly, in a temporary store."""

import tempfile
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from memctl.cli.app import Run
from memctl.cli.views import SHORT
from memctl.facts import Provenance, make_fact

if TYPE_CHECKING:
    from memctl.backends.protocol import Backend
    from memctl.deltas import Composition

FACTS = (
    make_fact("Priya Okonkwo", "lives in", "Jakarta"),
    make_fact("Tomasz Brandvold", "works as a", "beekeeper"),
    make_fact("Ilse Quarrington", "plays the", "cello"),
    make_fact("Mateo Brandvold", "favorite color", "turquoise", prompt="Mateo Brandvold's favorite color is"),
)
"""Invented people, two of whom share a surname: no model can know them, and the two must not be mixed up."""

STRANGER = "Where does Henrik Okonkwo live?"
"""About somebody who is never mentioned, and has a surname that is."""


def demo(run: Run) -> int:
    """Shows the whole story, in a few minutes and a temporary store."""
    from memctl.backends.factory import open_backend
    from memctl.deltas import Composition
    from memctl.editing.edit import edited_layer
    from memctl.editing.statistics import statistics
    from memctl.evaluation.audit import audit
    from memctl.evaluation.recall import states
    from memctl.store.records import BaseRef
    from memctl.store.store import Store
    from memctl.wake.fact_record import Told
    from memctl.wake.inject import inject
    from memctl.wake.live import composition
    from memctl.wake.verify_deep import verify_deep

    out, settings = run.out, run.effective.settings
    backend = open_backend(settings, None, out.progress)
    with tempfile.TemporaryDirectory(prefix="memctl-demo-") as folder:
        store = Store.create(
            Path(folder) / "store", BaseRef(name=settings.model, fingerprint=backend.fingerprint), backend=settings.backend
        )
        empty = store.head()
        statistics(backend, edited_layer(backend, settings.edit), out.progress)
        _heading(run, "1. What the model says by itself")
        before = _interview(run, backend, Composition())

        _heading(run, f"2. Writing {len(FACTS)} facts into the weights")
        told = [Told(fact, Provenance(source="demo")) for fact in FACTS]
        report = inject(store, backend, settings, told, wait=0.0, force=False, dry_run=False, progress=out.progress)
        for outcome in report.outcomes:
            out.text(f"  {outcome.status}: {outcome.fact}", "green" if outcome.status == "written" else "red")
        out.text(
            f"  {report.seconds / len(FACTS):.1f} s a fact; perplexity on text that the edit never saw: {report.drift:+.3%}"
        )

        _heading(run, "3. What it says now")
        after = _interview(run, backend, composition(store))
        untouched = before[-1] == after[-1]
        out.text(
            f"  the answer about somebody who was never mentioned: {'unchanged' if untouched else 'CHANGED'}",
            "green" if untouched else "red",
        )
        entries = store.ledger().active()
        found = audit(backend, composition(store), entries, entries, out.progress)
        new = fmean([recall.chat_new for _, recall in found.facts] or [0.0])
        out.text(f"  audit: {new:.0%} of chat questions in wordings that were never trained on are answered with the fact")

        _heading(run, "4. Rolling back")
        with store.writer(command="rollback") as writer:
            writer.rollback(empty.id)
        last = store.head()
        gone = last.composition == empty.composition and not verify_deep(store, backend)
        out.text(f"  composition before  {empty.composition[:SHORT]}")
        out.text(f"  composition after   {last.composition[:SHORT]}")
        out.text(f"  the base's tensors  {'unchanged to the bit' if gone else 'CHANGED'}", "green" if gone else "red")
        _heading(run, "5. What it says after that")
        again = _interview(run, backend, composition(store))
    learned = sum(states(after[2 * k], fact) for k, fact in enumerate(FACTS))
    exact = gone and again == before
    held = exact and learned >= len(FACTS) - 1
    out.summary(
        {
            "result": "done" if held else "failed",
            "facts": len(FACTS),
            "recalled_chat": learned,
            "drift": report.drift,
            "seconds_per_fact": report.seconds / len(FACTS),
            "forgotten_exactly": exact,
            "stranger_unchanged": untouched,
        },
        f"\n{learned} of {len(FACTS)} facts recalled in chat; forgotten {'exactly' if exact else 'NOT EXACTLY'}. "
        'Next: memctl init, then memctl inject "Ada Byron lives in London."',
        "bold green" if held else "bold red",
    )
    return 0 if held else 1


def _heading(run: Run, text: str) -> None:
    run.out.text(f"\n{text}", "bold cyan")


def _interview(run: Run, backend: "Backend", composition: "Composition") -> list[str]:
    """Asks about every fact in chat and raw, and about somebody who was never mentioned."""
    from memctl.editing.cues import measuring_cues
    from memctl.evaluation.recall import completions, states

    cues = [cue for fact in FACTS for cue in reversed(measuring_cues(fact).plain)]
    prompts = [(cue.mode, cue.prompt) for cue in cues]
    prompts.append(("chat", STRANGER))
    with backend.attached(composition):
        texts = completions(backend, prompts, run.out.progress, "asking")
    for k, ((mode, prompt), text) in enumerate(zip(prompts, texts, strict=True)):
        shown = " ".join(text.split())[:100]
        fact = FACTS[k // 2] if k < len(cues) else None
        style = "green" if fact and states(text, fact) else "dim" if fact is None else ""
        run.out.record(
            "answer",
            {"mode": mode, "prompt": prompt, "completion": text},
            f"  {prompt} … {shown}" if mode == "raw" else f"  {prompt} → {shown}",
            style,
        )
    return texts
