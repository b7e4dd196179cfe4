"""Pressure: how much a memory needs a nap or a sleep, from what its store holds.

    pressure = 1 − Π (1 − weight · part)        parts and pressure in [0, 1]

so that one part alone can call for sleep, and several small ones add up. Nothing is kept in memory: whoever opens the store
finds the same pressure.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from math import prod
from typing import Literal

import msgspec

from memctl.facts import LedgerEntry
from memctl.settings import SleepSettings
from memctl.store.records import Ledger, Snapshot

NAP, SLEEP = 0.4, 0.8
"""Pressures from which a nap, and a sleep, is advised."""

WEIGHTS: Mapping[str, float] = {"load": 1.0, "degraded": 1.0, "time": 0.8, "drift": 0.5}
"""Time alone calls for a sleep once the interval is over; drift alone never does more than call for a nap."""

Advice = Literal["", "nap", "sleep"]


class Part(msgspec.Struct, frozen=True):
    """One reason, 0 to 1, and what it was counted from."""

    name: str
    value: float
    said: str


class Pressure(msgspec.Struct, frozen=True):
    value: float
    parts: tuple[Part, ...]

    @property
    def advice(self) -> Advice:
        return "sleep" if self.value >= SLEEP else "nap" if self.value >= NAP else ""


def pressure(head: Snapshot, ledger: Ledger, slept: str, settings: SleepSettings, now: datetime | None = None) -> Pressure:
    """The pressure of a memory.

    Args:
        slept: When a sleep last went through all its steps and facts, ISO 8601; empty where none has.
        now: The time; by default the clock's.
    """
    active = ledger.active()
    worn = sum(is_degraded(entry, settings.threshold) for entry in active)
    waiting = [entry for entry in active if entry.scale]
    days = _days(waiting, slept, now or datetime.now(UTC))
    drift = abs(head.metrics.get("drift", 0.0))
    budget = settings.drift_budget
    parts = (
        Part("load", min(1.0, len(head.deltas) / settings.capacity), f"{len(head.deltas)} of {settings.capacity} edits"),
        Part("degraded", worn / len(active) if active else 0.0, f"{worn} of {len(active)} facts"),
        Part("time", min(1.0, days / settings.interval_days), f"{days:.1f} days that {len(waiting)} facts wait"),
        Part("drift", min(1.0, drift / budget) if budget else float(drift > 0), f"{drift:.2%} of {budget:.2%}"),
    )
    return Pressure(1.0 - prod(1.0 - WEIGHTS[part.name] * part.value for part in parts), parts)


def is_degraded(entry: LedgerEntry, threshold: float) -> bool:
    """Whether a fact was hardly recalled when it was last asked for."""
    last = entry.recalls[-1].recall if entry.recalls else None
    return last is not None and (last.raw + last.chat) / 2 < threshold


def _days(waiting: list[LedgerEntry], slept: str, now: datetime) -> float:
    """Days for which facts have waited: since the last sleep, or since the oldest of them was told."""
    told = [entry.provenance.time for entry in waiting if entry.provenance.time]
    if not told:
        return 0.0
    since = max(_moment(slept), _moment(min(told))) if slept else _moment(min(told))
    return max(0.0, (now - since).total_seconds() / 86400)


def _moment(text: str) -> datetime:
    """An ISO 8601 time; without a zone it is UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
