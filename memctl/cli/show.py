"""`memctl show`: one fact or one snapshot in full."""

import json
from typing import Annotated, Any

import msgspec
from typer import Argument

from memctl.cli.app import Run
from memctl.cli.views import entry_record, snapshot_record
from memctl.errors import UsageError
from memctl.store.records import Snapshot


def show(
    run: Run,
    id: Annotated[str, Argument(help="Id of a fact, or a revision: an id, HEAD~2, a tag, @{2d}.")] = "HEAD",
) -> None:
    """Shows one fact or one snapshot in full."""
    try:
        entry = run.store.ledger().by_prefix(id)
    except UsageError as no_fact:
        kind, record = "snapshot", _snapshot(_resolved(run, id, no_fact))
    else:
        recalls = msgspec.to_builtins(entry.recalls)
        delta = next((ref for ref in run.store.head().deltas if entry.id in ref.facts), None)
        kind = "fact"
        record = {**entry_record(entry), "recalls": recalls, "delta": msgspec.to_builtins(delta)}
    text = "\n".join(f"{name:<14} {_plain(value)}" for name, value in record.items())
    run.out.record(kind, record, text)
    run.out.summary({"shown": kind})


def _resolved(run: Run, id: str, no_fact: UsageError) -> Snapshot:
    try:
        return run.store.snapshot(id)
    except UsageError as no_snapshot:
        if "could be any of" in no_fact.message:
            raise no_fact from no_snapshot
        raise UsageError(f"{id!r} is neither a fact nor a snapshot", "`memctl facts`, `memctl log`") from no_snapshot


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    return {
        **snapshot_record(snapshot),
        "base": snapshot.base,
        "ledger": snapshot.ledger,
        "deltas": msgspec.to_builtins(snapshot.deltas),
        "weights": snapshot.weights,
    }


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
