"""`memctl status`: what the memory holds, in a few lines."""

from typing import Any

import msgspec

from memctl.cli.app import Run
from memctl.cli.facts import STATES
from memctl.cli.views import SHORT
from memctl.progress import plural
from memctl.sleep.pressure import Advice

ADVICE: dict[Advice, str] = {"": "", "nap": "  (memctl nap)", "sleep": "  (memctl sleep)"}


def status(run: Run) -> None:
    """Shows what the memory holds: base model, snapshot, facts by state and stage."""
    from memctl.sleep.plan import plan

    head = run.store.head()
    entries = run.store.ledger(head).entries.values()
    counts: dict[str, int] = {state: sum(entry.state == state for entry in entries) for state in STATES}
    counts |= {
        f"stage{stage}": sum(entry.state == "active" and entry.stage == stage for entry in entries) for stage in range(4)
    }
    base = run.store.base
    last = run.store.workroom.last_sleep()
    planned = plan(run.store, run.effective.settings)
    felt = planned.pressure
    record: dict[str, Any] = {
        "store": str(run.store.path),
        "base": {"name": base.name, "fingerprint": base.fingerprint},
        "snapshot": head.id,
        "composition": head.composition,
        "time": head.time,
        "facts": counts,
        "metrics": head.metrics,
        "pressure": {"value": felt.value, "parts": {part.name: part.value for part in felt.parts}, "advice": planned.advice},
        "waiting": planned.waiting,
        "last_sleep": msgspec.to_builtins(last),
    }
    lines = [
        f"store        {run.store.path}",
        f"base         {base.name}  {base.fingerprint[:SHORT]}",
        f"snapshot     {head.id[:SHORT]}  {head.time}  {head.command}: {head.message}",
        f"composition  {head.composition[:SHORT]}",
        "facts        " + ", ".join(f"{counts[state]} {state}" for state in STATES),
        f"journal      {plural(planned.waiting, 'fact')} waiting",
        *(f"{name:<12} {value:.4g}" for name, value in head.metrics.items()),
        f"pressure     {felt.value:.2f}{ADVICE[planned.advice]}",
        *(f"  {part.name:<10} {part.value:.2f}  {part.said}" for part in felt.parts),
        f"last sleep   {last.at}: {last.result}, exit {last.exit_code}" if last else "last sleep   none yet",
    ]
    run.out.summary(record, "\n".join(lines))
