"""`memctl rollback`: an older state becomes the current one, as a new snapshot."""

from typing import Annotated

from typer import Argument

from memctl.cli.app import Run
from memctl.cli.options import DryRun, LockWait
from memctl.cli.views import SHORT, plural, snapshot_record


def rollback(
    run: Run,
    revision: Annotated[str, Argument(help="An id, HEAD~1, a tag, or a time such as @{2d}.")],
    lock_wait: LockWait = 0.0,
    dry_run: DryRun = False,
) -> None:
    """Returns to an older snapshot; the way there stays in the history, so it can be undone too."""
    before = run.store.head()
    target = run.store.snapshot(revision)
    if dry_run:
        after = target
    else:
        with run.store.writer(wait=lock_wait, command=run.command) as writer:
            after = writer.rollback(target.id)
    kept = plural(len(run.store.ledger(target).active()), "fact")
    same = before.composition == target.composition and before.ledger == target.ledger
    text = (
        f"nothing to do: this is the state of {target.id[:SHORT]} already"
        if same
        else f"{'would go' if dry_run else 'went'} back to {target.id[:SHORT]} ({target.time}): {kept}"
    )
    run.out.record("snapshot", snapshot_record(after), text, "green")
    run.out.summary(
        {
            "result": "noop" if same else "dry-run" if dry_run else "done",
            "from": before.id,
            "to": target.id,
            "snapshot": after.id,
            "composition": after.composition,
        }
    )
