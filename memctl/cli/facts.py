"""`memctl facts`: the ledger."""

from typing import Annotated

from typer import Option

from memctl.cli.app import Run
from memctl.cli.views import entry_cells, entry_record
from memctl.errors import UsageError
from memctl.progress import plural

STATES = ("active", "superseded", "forgotten")


def facts(
    run: Run,
    at: Annotated[str, Option("--at", metavar="REVISION", help="As of this snapshot.")] = "HEAD",
    state: Annotated[str, Option(help="active, superseded, forgotten, or all.")] = "active",
) -> int | None:
    """Lists the facts that the memory holds."""
    if state not in (*STATES, "all"):
        raise UsageError(f"there is no state {state!r}", f"one of {', '.join(STATES)}, all")
    entries = sorted(run.store.ledger(run.store.snapshot(at)).entries.values(), key=lambda entry: entry.id)
    chosen = [entry for entry in entries if state in (entry.state, "all")]
    run.out.table(
        "fact",
        ("id", "subject", "relation", "object", "state", "recall"),
        ((entry_record(entry), entry_cells(entry)) for entry in chosen),
    )
    counts = {name: sum(entry.state == name for entry in entries) for name in STATES}
    empty = "" if entries else 'no facts yet: memctl inject "Priya Okonkwo lives in Jakarta."'
    run.out.summary({"facts": len(chosen), **counts}, empty or plural(len(chosen), "fact"))
    return None
