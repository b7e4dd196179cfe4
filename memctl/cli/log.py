"""`memctl log`: the snapshots, newest first."""

from itertools import islice
from typing import Annotated

from typer import Argument, Option

from memctl.cli.app import Run
from memctl.cli.views import SHORT, snapshot_record
from memctl.progress import plural


def log(
    run: Run,
    revision: Annotated[str, Argument(help="Where to start.")] = "HEAD",
    limit: Annotated[int | None, Option("--limit", "-n", min=0, help="At most so many.")] = None,
) -> None:
    """Lists the snapshots, newest first."""
    tags: dict[str, list[str]] = {}
    for name, id in run.store.tags().items():
        tags.setdefault(id, []).append(name)
    found = list(islice(run.store.log(revision), limit))
    run.out.table(
        "snapshot",
        ("id", "time", "command", "message", "tags"),
        (
            (
                {**snapshot_record(snapshot), "tags": tags.get(snapshot.id, [])},
                (
                    snapshot.id[:SHORT],
                    f"{snapshot.time[:19].replace('T', ' ')}",
                    snapshot.command,
                    snapshot.message,
                    " ".join(tags.get(snapshot.id, [])),
                ),
            )
            for snapshot in found
        ),
    )
    run.out.summary({"snapshots": len(found)}, plural(len(found), "snapshot"))
