"""Pre-flight: what is known of a memory before it is written, and what forbids to write it.

All of it follows from the traces: how well the value was learned, on how much ordinary text its units act, and whether it can
be told apart from the memories that are there already. Reading back and the drift come after; they cost more and name no cause.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from memctl.backends.protocol import Float
from memctl.editing.edit import Found
from memctl.editing.inspection import cosine
from memctl.editing.selectors import firing
from memctl.editing.solve import Trace

UNLEARNED = 1.0
"""Highest mean loss, in nats a token: beyond it the target's tokens get a third of the probability each, and those that carry
the fact get less."""

DAMAGE = 1e-3
"""Largest share of ordinary tokens that a memory may act on. Names act on some ten in a million; one in a thousand is a common
word, and each of its mentions would say the fact."""

COLLIDES = 0.1
"""Firing of one subject's units at another's key from which the two are named: of 452 prompts about people who share a name
with some of 42 subjects, one reached it."""

SAME_UNIT = 0.5
"""Activation at each other's keys from which two subjects cannot be told apart. The solve parts them by subtracting one from
the other, which amplifies what differs from the mean key by 1 / (1 − a²): by a third here, and without bound beyond."""

NEAR_KEY = 0.5
"""Cosine of whitened keys from which two subjects with plain edits are named."""

SAME_KEY = 0.95
"""Cosine from which plain edits cannot be told apart: at damping 0.1 the other's value comes along half as strong."""


AT_HOME = 0.5
"""Least firing of a subject's units at its own keys. Below, the solve would make up for it with a longer output, which then
stands wherever else they fire a little."""


class Collision(msgspec.Struct, frozen=True):
    """Another subject, and how far the two are one: firing of its units at the other's key, or cosine of plain keys."""

    subject: str
    strength: float


class Preflight(msgspec.Struct, frozen=True):
    """What is known of a subject's memory before it is written.

    Attributes:
        loss, norm, touched: Of the search (see `Found`); a loss that is no finite number is None.
        collisions: With what is stored and with subjects told before, strongest first.
        refused: Why it must not be written; empty where nothing forbids it.
    """

    subject: str
    loss: float | None
    norm: float
    touched: float | None
    collisions: tuple[Collision, ...]
    refused: str = ""


def preflight(
    new: Sequence[Found], stored: Sequence[Trace], act: str, covariance: NDArray[np.float64] | None
) -> list[Preflight]:
    """Checks new memories in the order told. A collision with a refused one forbids nothing, for that will not be there.

    Args:
        covariance: (m, m) second moment of the keys of plain edits; None with added units.
    """
    there = list(stored)
    refused: set[str] = set()
    checks: list[Preflight] = []
    for found in new:
        trace = found.trace
        likeness = _unit_likeness(trace, there, act) if covariance is None else _key_likeness(trace, there, covariance)
        near, same = (COLLIDES, SAME_UNIT) if covariance is None else (NEAR_KEY, SAME_KEY)
        pairs = zip(there, likeness.tolist(), strict=True)
        collisions = [Collision(other.subject, strength) for other, strength in pairs if strength >= near]
        collisions.sort(key=lambda collision: -collision.strength)
        blocking = [collision for collision in collisions if collision.strength >= same and collision.subject not in refused]
        at_home = np.inf if covariance is not None else _at_home(trace, act)
        reason = _refusal(found, at_home, blocking, same)
        if reason:
            refused.add(trace.subject)
        there.append(trace)
        loss = found.loss if np.isfinite(found.loss) else None
        checks.append(Preflight(trace.subject, loss, found.norm, found.touched, tuple(collisions), reason))
    return checks


def _refusal(found: Found, at_home: float, blocking: Sequence[Collision], same: float) -> str:
    if not found.loss <= UNLEARNED:  # a NaN is beyond every limit
        bounded = "; its value is at the norm bound" if found.norm > 0.999 else ""
        return f"it was not learned: {found.loss:.2f} nats a token are left of at most {UNLEARNED:.2f}{bounded}"
    if found.touched is not None and found.touched > DAMAGE:
        return f"it would act on {found.touched:.2%} of ordinary text, of at most {DAMAGE:.2%}: the subject is too common"
    if not at_home >= AT_HOME:
        return f"its units do not answer to its name ({at_home:.2f} of at least {AT_HOME:.2f}): it looks like ordinary text"
    if blocking:
        first = blocking[0]
        return f"it cannot be told apart from {first.subject!r} ({first.strength:.2f} of at most {same:.2f})"
    return ""


def _at_home(trace: Trace, act: str) -> float:
    """Least firing of a subject's units at its own keys."""
    return float(firing(act, trace.gate, trace.up, trace.key.T, [len(trace.gate)]).min())


def _unit_likeness(trace: Trace, others: Sequence[Trace], act: str) -> Float:
    """(others,) highest firing of either's units at the other's keys."""
    likeness = [
        max(
            np.abs(firing(act, trace.gate, trace.up, other.key.T, [len(trace.gate)])).max(),
            np.abs(firing(act, other.gate, other.up, trace.key.T, [len(other.gate)])).max(),
        )
        for other in others
    ]
    return np.array(likeness, np.float32)


def _key_likeness(trace: Trace, others: Sequence[Trace], covariance: NDArray[np.float64]) -> Float:
    """(others,) highest cosine of whitened keys."""
    if not others:
        return np.empty(0, np.float32)
    keys = np.concatenate([other.key for other in others], axis=1)
    begins = np.cumsum([0, *(other.key.shape[1] for other in others)])[:-1]
    best = cosine(trace.key, keys, covariance).max(axis=0)
    return np.maximum.reduceat(best, begins).astype(np.float32)
