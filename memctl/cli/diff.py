"""`memctl diff`: what changed between two snapshots."""

from collections.abc import Iterator
from typing import Annotated, Any

from typer import Argument, Option

from memctl.cli.app import Run
from memctl.cli.views import SHORT, entry_record
from memctl.errors import FINDINGS
from memctl.facts import LedgerEntry
from memctl.progress import plural


def diff(
    run: Run,
    a: Annotated[str, Argument(metavar="A", help="The older snapshot.")] = "HEAD~1",
    b: Annotated[str, Argument(metavar="B", help="The newer one.")] = "HEAD",
    exit_code: Annotated[bool, Option("--exit-code", help="Exit 5 where they differ.")] = False,
) -> int:
    """Shows the facts, edits and adapters that two snapshots do not share."""
    from memctl.store.diff import diff as compare

    older, newer = run.store.snapshot(a), run.store.snapshot(b)
    found = compare(run.store, older, newer)
    for change, entry in (
        *(("removed", entry) for entry in found.facts_removed),
        *(("added", entry) for entry in found.facts_added),
    ):
        run.out.record("fact", {**entry_record(entry), "change": change}, *_look(change, entry))
    for pair in found.facts_changed:
        moves = ", ".join(_moves(pair.before, pair.after))
        record = {**entry_record(pair.after), "change": "changed", "before": entry_record(pair.before)}
        run.out.record("fact", record, f"~ {pair.after.id}  {pair.after.fact}  ({moves})", "yellow")
    for change, ref in (
        *(("removed", ref) for ref in found.deltas_removed),
        *(("added", ref) for ref in found.deltas_added),
        *(("changed", pair.after) for pair in found.deltas_changed),
    ):
        record = {"subject": ref.subject, "object": ref.object, "scale": ref.scale, "change": change}
        run.out.record("delta", record, f"  edit {change}: {ref.subject}  {ref.object[:SHORT]}", "dim")
    if moved := found.adapter:
        change = "removed" if moved.after is None else "added" if moved.before is None else "changed"
        ref_now = moved.after or moved.before
        assert ref_now is not None
        record = {"object": ref_now.object, "facts": list(ref_now.facts), "change": change}
        run.out.record(
            "adapter", record, f"  adapter {change}: {plural(len(ref_now.facts), 'fact')}  {ref_now.object[:SHORT]}", "dim"
        )
    summary: dict[str, Any] = {
        "a": older.id,
        "b": newer.id,
        "facts_added": len(found.facts_added),
        "facts_removed": len(found.facts_removed),
        "facts_changed": len(found.facts_changed),
        "same_composition": older.composition == newer.composition,
    }
    run.out.summary(summary, "" if found else "no difference")
    return FINDINGS if exit_code and found else 0


def _look(change: str, entry: LedgerEntry) -> tuple[str, str]:
    sign, style = ("+", "green") if change == "added" else ("-", "red")
    return f"{sign} {entry.id}  {entry.fact}", style


def _moves(before: LedgerEntry, after: LedgerEntry) -> Iterator[str]:
    for name in ("state", "stage", "scale"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield f"{name} {old} → {new}"
