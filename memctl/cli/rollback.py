"""`memctl rollback`: an older state becomes the current one, as a new snapshot."""

from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Annotated

from typer import Argument

from memctl.cli.app import Run
from memctl.cli.options import DryRun, LockWait
from memctl.cli.views import SHORT, snapshot_record
from memctl.errors import DamagedStore
from memctl.progress import plural
from memctl.store.writer import Writer, same_state


def rollback(
    run: Run,
    revision: Annotated[str, Argument(help="An id, HEAD~1, a tag, or a time such as @{2d}.")],
    lock_wait: LockWait = 0.0,
    dry_run: DryRun = False,
) -> None:
    """Returns to an older snapshot; the way there stays in the history, so it can be undone too."""
    store = run.store
    lock: AbstractContextManager[Writer | None] = nullcontext() if dry_run else store.writer(lock_wait, run.command)
    with lock as writer:
        before = None
        with suppress(DamagedStore):  # a damaged HEAD is what rolling back mends
            before = store.head()
        target = store.snapshot(revision)
        after = target if writer is None else writer.rollback(target.id)
    kept = plural(len(store.ledger(target).active()), "fact")
    same = before is not None and same_state(before, target)
    text = (
        f"nothing to do: this is the state of {target.id[:SHORT]} already"
        if same
        else f"{'would go' if dry_run else 'went'} back to {target.id[:SHORT]} ({target.time}): {kept}"
    )
    run.out.record("snapshot", snapshot_record(after), text, "green")
    run.out.summary(
        {
            "result": "noop" if same else "dry-run" if dry_run else "done",
            "from": before.id if before else "",
            "to": target.id,
            "snapshot": after.id,
            "composition": after.composition,
        }
    )
