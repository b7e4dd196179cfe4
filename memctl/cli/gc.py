"""`memctl gc`: removes what no kept snapshot needs."""

from typing import Annotated

import msgspec
from typer import Option

from memctl.cli.app import Run
from memctl.cli.options import DryRun, LockWait
from memctl.progress import plural


def gc(
    run: Run,
    keep_last: Annotated[int | None, Option(metavar="N", help="Keep only the newest N snapshots.")] = None,
    keep_daily: Annotated[int | None, Option(metavar="N", help="Keep the newest of each of N days.")] = None,
    keep_tag: Annotated[bool, Option(help="Keep snapshots that have a tag.")] = True,
    lock_wait: LockWait = 0.0,
    dry_run: DryRun = False,
) -> None:
    """Removes unreachable objects, and snapshots beyond a retention that you name."""
    if dry_run:
        report = run.store.plan_gc(keep_last, keep_daily, keep_tag)
    else:
        with run.store.writer(wait=lock_wait, command=run.command) as writer:
            report = writer.gc(keep_last, keep_daily, keep_tag)
    for id in report.snapshots:
        run.out.record("snapshot", {"id": id}, f"{'would remove' if dry_run else 'removed'} snapshot {id[:12]}")
    counts = f"{plural(len(report.snapshots), 'snapshot')}, {plural(len(report.objects), 'object')}"
    run.out.summary(
        {
            **msgspec.to_builtins(report),
            "snapshots": len(report.snapshots),
            "objects": len(report.objects),
            "temporaries": len(report.temporaries),
        },
        f"{'would remove' if dry_run else 'removed'} {counts}, {report.bytes:,} bytes",
    )
