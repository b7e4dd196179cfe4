"""`memctl nap`: are the newest facts still known? Records the answers; the model stays as it is."""

from statistics import fmean

import msgspec

from memctl.cli.app import Run
from memctl.cli.options import DryRun, LockWait
from memctl.cli.views import recall_text
from memctl.progress import plural


def nap(run: Run, lock_wait: LockWait = 0.0, dry_run: DryRun = False) -> None:
    """Asks the model for the newest facts and records what it says."""
    from memctl.sleep.nap import nap as ask_newest

    settings = run.effective.settings
    report = ask_newest(run.store, run.backend, settings, wait=lock_wait, dry_run=dry_run, progress=run.out.progress)
    for entry, recall in report.facts:
        record = {"id": entry.id, **msgspec.to_builtins(recall), "stage": entry.stage, "scale": entry.scale}
        run.out.record("fact", record, f"{entry.id}  {recall_text(recall.raw, recall.chat)}  {entry.fact}")
    raw, chat = (
        fmean(getattr(recall, name) for _, recall in report.facts) if report.facts else None for name in ("raw", "chat")
    )
    said = "" if raw is None or chat is None else f": recall raw {raw:.2f}, chat {chat:.2f}"
    run.out.summary(
        {
            "facts": len(report.facts),
            "raw": raw,
            "chat": chat,
            "drift": run.store.head().metrics.get("drift", 0.0),
            "snapshot": report.snapshot.id if report.snapshot else None,
            "dry_run": dry_run,
        },
        f"{plural(len(report.facts), 'fact')}{said}",
    )
