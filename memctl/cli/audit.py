"""`memctl audit`: is each fact still known? Changes nothing."""

from statistics import fmean
from typing import Annotated, Any

import msgspec
from typer import Argument, Option

from memctl.cli.app import Run
from memctl.errors import FINDINGS, UsageError
from memctl.progress import plural

MEASURES = ("raw", "chat", "raw_new", "chat_new")


def audit(
    run: Run,
    ids: Annotated[list[str] | None, Argument(metavar="[FACT]...", help="Only these facts.")] = None,
    fail_under: Annotated[
        float | None, Option(metavar="R", min=0.0, max=1.0, help="Exit 5 if recall, raw or chat, is below R.")
    ] = None,
) -> int:
    """Asks the model for every fact, raw and in chat, and measures the drift."""
    from memctl.wake.live import Memory

    memory = Memory.current(run.store)  # at once: what is told while the model loads is not asked for
    ledger = memory.ledger
    entries = tuple({entry.id: entry for entry in map(ledger.by_prefix, ids)}.values()) if ids else ledger.active()
    if gone := [entry for entry in entries if entry.state != "active"]:
        raise UsageError(
            f"{gone[0].id} ({gone[0].fact}) is {gone[0].state}", "`memctl facts` lists those that are to be recalled"
        )
    from memctl.evaluation.audit import audit as measure

    report = measure(run.backend, memory.composition, entries, ledger.active(), run.out.progress)
    rows = [(entry, msgspec.to_builtins(recall)) for entry, recall in report.facts]
    run.out.table(
        "fact",
        ("id", "subject", "relation", "object", "raw", "chat", "raw, new", "chat, new"),
        (
            (
                {"id": entry.id, **recall, "stage": entry.stage, "scale": entry.scale},
                (
                    entry.id,
                    entry.fact.subject,
                    entry.fact.relation,
                    entry.fact.object,
                    *(f"{recall[name]:.2f}" for name in MEASURES),
                ),
            )
            for entry, recall in rows
        ),
    )
    mean: dict[str, Any] = {name: fmean(recall[name] for _, recall in rows) if rows else None for name in MEASURES}
    drift = report.drift
    text = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in mean.items()) if rows else "nothing"
    run.out.summary(
        {"facts": len(rows), **mean, "drift": drift.perplexity, "divergence": drift.divergence},
        f"{plural(len(rows), 'fact')}: recall {text}; drift {drift.perplexity:+.2%}",
    )
    failed = fail_under is not None and rows and min(mean["raw"], mean["chat"]) < fail_under
    return FINDINGS if failed else 0
