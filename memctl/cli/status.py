"""`memctl status`: what the memory holds, in a few lines."""

from typing import Any

from memctl.cli.app import Run
from memctl.cli.facts import STATES
from memctl.cli.views import SHORT


def status(run: Run) -> None:
    """Shows what the memory holds: base model, snapshot, facts by state and stage."""
    head = run.store.head()
    entries = run.store.ledger(head).entries.values()
    counts: dict[str, int] = {state: sum(entry.state == state for entry in entries) for state in STATES}
    counts |= {
        f"stage{stage}": sum(entry.state == "active" and entry.stage == stage for entry in entries) for stage in range(4)
    }
    base = run.store.base
    record: dict[str, Any] = {
        "store": str(run.store.path),
        "base": {"name": base.name, "fingerprint": base.fingerprint},
        "snapshot": head.id,
        "composition": head.composition,
        "time": head.time,
        "facts": counts,
        "metrics": head.metrics,
    }
    lines = [
        f"store        {run.store.path}",
        f"base         {base.name}  {base.fingerprint[:SHORT]}",
        f"snapshot     {head.id[:SHORT]}  {head.time}  {head.command}: {head.message}",
        f"composition  {head.composition[:SHORT]}",
        "facts        " + ", ".join(f"{counts[state]} {state}" for state in STATES),
        *(f"{name:<12} {value:.4g}" for name, value in head.metrics.items()),
    ]
    run.out.summary(record, "\n".join(lines))
