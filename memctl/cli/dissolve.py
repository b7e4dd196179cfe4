"""`memctl dissolve`: edits scaled down or away where the adapter carries the facts."""

from typing import Annotated

import msgspec
from typer import Argument, Option

from memctl.cli.app import Run
from memctl.cli.options import DryRun, LockWait
from memctl.cli.views import recall_text
from memctl.errors import GateRefused
from memctl.progress import plural


def dissolve(
    run: Run,
    ids: Annotated[list[str] | None, Argument(metavar="[FACT]...", help="Ids of facts, or their first digits.")] = None,
    consolidated: Annotated[bool, Option("--consolidated", help="All facts that the adapter carries.")] = False,
    everything: Annotated[bool, Option("--all", help="All facts.")] = False,
    to: Annotated[float, Option(metavar="SCALE", min=0.0, max=0.99, help="Down to this scale; 0 takes the edit away.")] = 0.0,
    force: Annotated[bool, Option("--force", help="Also where recall falls.")] = False,
    lock_wait: LockWait = 0.0,
    dry_run: DryRun = False,
) -> int:
    """Scales edits down or away where the adapter carries their facts; exit 4 where recall would fall."""
    from memctl.sleep.dissolve import chosen
    from memctl.sleep.dissolve import dissolve as scale_down

    meant = chosen(run.store, ids or [], consolidated=consolidated, everything=everything)
    report = scale_down(
        run.store,
        run.backend,
        run.effective.settings,
        {entry.id for entry in meant},
        to,
        wait=lock_wait,
        force=force,
        dry_run=dry_run,
        progress=run.out.progress,
    )
    refused = 0
    for one in report.facts:
        refused += bool(one.refused)
        entry = one.entry
        record = {
            "id": entry.id,
            "status": "refused" if one.refused else "dissolved",
            "stage_before": one.before_entry.stage,
            "stage": entry.stage,
            "scale_before": one.before_entry.scale,
            "scale": entry.scale,
            "before": msgspec.to_builtins(one.before),
            "after": msgspec.to_builtins(one.after),
            "reason": one.refused,
        }
        recall = recall_text(one.before.raw, one.before.chat)
        recall += f" → {recall_text(one.after.raw, one.after.chat)}" if one.after else ""
        said = f"refused    {entry.id}  {entry.fact}  {one.refused}" if one.refused else ""
        text = said or f"dissolved  {entry.id}  {entry.fact}  scale {one.before_entry.scale:g} → {entry.scale:g}"
        run.out.record("fact", record, f"{text}  recall {recall}", "red" if one.refused else "green")
    done = len(report.facts) - refused
    tail = "; dry run: nothing was changed" if dry_run else ""
    run.out.summary(
        {
            "result": "refused" if refused else "dry-run" if dry_run else "done" if done else "noop",
            "dissolved": done,
            "refused": refused,
            "snapshot": report.snapshot.id if report.snapshot else None,
            "composition": report.snapshot.composition if report.snapshot else None,
            "dry_run": dry_run,
        },
        f"{plural(done, 'fact')} {'would go' if dry_run else 'went'} down to {to:g}, {refused} refused{tail}"
        if report.facts
        else "nothing to do: no edit is above that scale",
    )
    return GateRefused.exit_code if refused else 0
