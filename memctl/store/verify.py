"""Finds damage anywhere in a memory directory, names it, and repairs what can be rebuilt.

A *finding* is damage. A *note* is what the store works with all the same: what an interrupted write leaves behind (a
temporary, an object or snapshot that nothing reaches, a ledger.json that is a snapshot behind, a torn journal line), or
a file that could be written to, as a copy or a backup makes them.
"""

from pathlib import Path

import msgspec

from memctl.store.check import Check, Finding, VerifyReport
from memctl.store.layout import Layout
from memctl.store.lock import hold
from memctl.store.repair import rebuild

__all__ = ["Finding", "VerifyReport", "verify"]

LOCK_WAIT = 10.0
"""Seconds that a repair, or a check that others never let finish, waits for the lock."""

ATTEMPTS = 5
"""How often a check that a commit or gc has disturbed starts again before it takes the lock."""


def verify(store_path: Path | str, *, repair: bool = False) -> VerifyReport:
    """Checks every byte of a store; with `repair`, rebuilds what follows from the rest.

    Repaired are HEAD, tags, shallow, the journal's position, ledger.json, file modes and leftover temporaries; the history
    goes on past a snapshot that cannot be read, and a `memctl.toml` that was edited by hand is accepted where it makes
    sense. Takes the lock only to repair, or where commits follow each other so fast that
    no check comes to its end between two of them.

    Raises:
        StoreNotFound: There is no store.
        UnknownFormat: A newer memctl wrote it.
        StoreLocked: The lock is needed, and another process has it.
    """
    layout = Layout(Path(store_path).absolute())
    layout.require_store()
    if not repair:
        return _undisturbed(layout)
    with hold(layout.lock, LOCK_WAIT, "verify --repair"):
        repaired = rebuild(layout)
        return msgspec.structs.replace(Check(layout).report(), repaired=repaired)


def _undisturbed(layout: Layout) -> VerifyReport:
    """The report of a check that no commit or gc ran into: what one that was disturbed finds may be no damage."""
    for _ in range(ATTEMPTS):
        before = layout.moving()
        report = Check(layout).report()
        if not report.findings or layout.moving() == before:
            return report
    with hold(layout.lock, LOCK_WAIT, "verify"):
        return Check(layout).report()
