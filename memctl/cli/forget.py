"""`memctl forget`: facts leave the weights, as if they had never been told."""

from typing import Annotated

from typer import Argument

from memctl.cli.app import Run
from memctl.cli.options import DryRun, LockWait
from memctl.cli.views import SHORT, entry_record
from memctl.progress import plural


def forget(
    run: Run,
    ids: Annotated[list[str], Argument(metavar="FACT...", help="Ids of facts, or their first digits.")],
    lock_wait: LockWait = 0.0,
    dry_run: DryRun = False,
) -> None:
    """Removes facts from every tier, and says which older snapshots still hold them."""
    from memctl.wake.forget import forget as take_out

    report = take_out(
        run.store,
        run.backend,
        run.effective.settings,
        ids,
        wait=lock_wait,
        dry_run=dry_run,
        progress=run.out.progress,
    )
    for entry in report.forgotten:
        text = f"{'would forget' if dry_run else 'forgot'} {entry.id}  {entry.fact}"
        run.out.record("fact", entry_record(entry), text, "green")
    for entry in report.lost:
        run.out.note(f"{entry.id}  {entry.fact} is not recalled any more; `memctl sleep` tries harder")
    for entry in report.replaced:
        run.out.note(f"{entry.id}  {entry.fact} was told before, and stays superseded; if it holds again, tell it again")
    if report.unread:
        run.out.note(f"{report.unread}: whether older snapshots still hold them is not known; memctl verify --repair")
    still = [id[:SHORT] for id in report.still_in]
    hint = f"; {plural(len(still), 'older snapshot')} still hold them: {' '.join(still[:5])}" if still else ""
    run.out.summary(
        {
            "forgotten": len(report.forgotten),
            "lost": [entry.id for entry in report.lost],
            "replaced": [entry.id for entry in report.replaced],
            "snapshot": report.snapshot.id if report.snapshot else None,
            "composition": report.snapshot.composition if report.snapshot else None,
            "still_in": list(report.still_in),
            "history": "damaged" if report.unread else "read",
            "dry_run": dry_run,
        },
        f"{plural(len(report.forgotten), 'fact')} {'would be ' if dry_run else ''}forgotten{hint}",
    )
