"""Options that several commands share."""

from typing import Annotated

from typer import Option

LockWait = Annotated[float, Option("--lock-wait", metavar="SECONDS", min=0.0, help="Wait so long for another writer.")]
DryRun = Annotated[bool, Option("--dry-run", help="Say what would happen; change nothing.")]
