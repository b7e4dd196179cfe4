"""`memctl tag`: names for snapshots."""

from typing import Annotated

from typer import Argument, Option

from memctl.cli.app import Run
from memctl.cli.options import LockWait
from memctl.cli.views import SHORT
from memctl.errors import UsageError
from memctl.progress import plural


def tag(
    run: Run,
    name: Annotated[str | None, Argument(help="The tag to set; without it, all are listed.")] = None,
    revision: Annotated[str, Argument(help="The snapshot it names.")] = "HEAD",
    delete: Annotated[bool, Option("--delete", "-d", help="Remove the tag.")] = False,
    lock_wait: LockWait = 0.0,
) -> None:
    """Lists tags, names a snapshot, or removes a name."""
    if name is None:
        if delete:
            raise UsageError("--delete needs the name of a tag", "memctl tag --delete NAME")
        tags = run.store.tags()
        run.out.table(
            "tag",
            ("tag", "snapshot"),
            (({"id": label, "snapshot": id}, (label, id[:SHORT])) for label, id in tags.items()),
        )
        run.out.summary({"tags": len(tags)}, plural(len(tags), "tag"))
        return
    with run.store.writer(wait=lock_wait, command=run.command) as writer:
        if delete:
            writer.untag(name)
            run.out.summary({"result": "done", "removed": name}, f"removed the tag {name}")
            return
        snapshot = writer.tag(name, revision)
    run.out.record("tag", {"id": name, "snapshot": snapshot.id}, f"{name} is {snapshot.id[:SHORT]}", "green")
    run.out.summary({"result": "done", "tags": 1})
