"""`memctl show`: one fact or one snapshot in full."""

import json
from typing import Annotated, Any

import msgspec
from typer import Argument

from memctl.cli.app import Run
from memctl.cli.views import entry_record, snapshot_record
from memctl.errors import AmbiguousId, UsageError
from memctl.facts import LedgerEntry
from memctl.store.records import DeltaRef, Snapshot
from memctl.store.store import Store


def show(
    run: Run,
    id: Annotated[str, Argument(help="Id of a fact, or a revision: an id, HEAD~2, a tag, @{2d}.")] = "HEAD",
) -> None:
    """Shows one fact or one snapshot in full."""
    kind, record = run.store.layout.undisturbed(lambda: _found(run.store, id))
    lines = [f"{name:<14} {line}" for name, value in record.items() if name != "sleep" for line in _lines(value)]
    if slept := record.get("sleep"):
        lines += ["sleep", *(f"  {line}" for line in _night(slept))]
    run.out.record(kind, record, "\n".join(lines))
    run.out.summary({"shown": kind})


def _found(store: Store, id: str) -> tuple[str, dict[str, Any]]:
    head = store.head()
    try:
        entry = store.ledger(head).by_prefix(id)
    except UsageError as no_fact:
        return "snapshot", _snapshot(store, _resolved(store, id, no_fact))
    return "fact", _fact(store, head, entry)


def _fact(store: Store, head: Snapshot, entry: LedgerEntry) -> dict[str, Any]:
    """The ledger entry, its memory, the memories near it, and the snapshots that hold it, newest first."""
    holding = [past.id for past in store.log(head.id) if entry.id in past.carried]
    taken = [edit for edit in head.adapter.edits if not edit.scale] if head.adapter else []
    ref = next((ref for ref in (*head.deltas, *taken) if entry.id in ref.facts), None)
    delta, competing = (None, []) if ref is None else _memory(store, head, ref)
    return {
        **entry_record(entry),
        "recalls": msgspec.to_builtins(entry.recalls),
        "delta": delta,
        "competing": competing,
        "adapter": entry.id in head.adapter.facts if head.adapter else False,
        "snapshots": holding,
    }


def _memory(store: Store, head: Snapshot, ref: DeltaRef) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from memctl.editing.inspection import inspect
    from memctl.wake.live import live, taken_over

    known = [*live(store, head), *taken_over(store, head)]
    found = inspect(ref.subject, {other.subject: delta for other, delta in known}, head.base)
    facts = {other.subject: list(other.facts) for other, _ in known}
    delta = {
        **msgspec.to_builtins(ref),
        "layer": found.layer,
        "units": found.units,
        "residual_norm": found.norm,
        "reference": None if found.highest is None else {"highest": found.highest, "touched": found.touched},
    }
    competing = [
        {
            "subject": rival.subject,
            "facts": facts[rival.subject],
            "cosine": round(rival.cosine, 4),
            "whitened": found.whitened,
            "here": round(rival.here, 4),
            "there": round(rival.there, 4),
        }
        for rival in found.rivals
    ]
    return delta, competing


def _resolved(store: Store, id: str, no_fact: UsageError) -> Snapshot:
    try:
        return store.snapshot(id)
    except UsageError as no_snapshot:
        if isinstance(no_fact, AmbiguousId):
            raise no_fact from no_snapshot
        raise UsageError(f"{id!r} is neither a fact nor a snapshot", "`memctl facts`, `memctl log`") from no_snapshot


def _snapshot(store: Store, snapshot: Snapshot) -> dict[str, Any]:
    slept = {"sleep": json.loads(store.read_object(snapshot.report))} if snapshot.report else {}
    return {
        **snapshot_record(snapshot),
        "base": snapshot.base,
        "ledger": snapshot.ledger,
        "deltas": msgspec.to_builtins(snapshot.deltas),
        "adapter": msgspec.to_builtins(snapshot.adapter),
        "weights": snapshot.weights,
        **slept,
    }


def _night(slept: dict[str, Any]) -> list[str]:
    from memctl.cli.night_report import report_lines
    from memctl.sleep.state import SleepReport

    return [text for _, text, _ in report_lines(msgspec.convert(slept, SleepReport))]


def _lines(value: Any) -> list[str]:
    """A value as people read it: a line for each part of a list, name and value for each part of a record."""
    if isinstance(value, list) and value:
        return [line for part in value for line in _lines(part)]
    if isinstance(value, dict) and value:
        return ["  ".join(f"{name} {_plain(part)}" for name, part in value.items())]
    return [_plain(value)]


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
