"""The exception tree. Each error knows its exit code and what to type next; this module imports nothing.

MemctlError                 1   anything that went wrong and has no code of its own
├── UsageError              2   the command line or an input record does not make sense
│   └── AmbiguousId         2   an abbreviated id stands for several facts
├── GateRefused             4   a measurement forbade the change; nothing was kept
├── StoreNotFound          10   there is no memory directory at the place named
├── StoreLocked            11   another writer holds the store
├── DamagedStore           12   an object, manifest or ledger is not what its hash says
├── BaseMismatch           13   the store belongs to another base model
├── BackendMissing         14   a backend or an extra is not installed
├── UnknownFormat           1   the store was written by a newer memctl
├── StoreNotWritable        1   permission denied, or a read-only file system
├── DiskFull                1   the write did not fit; nothing was changed
├── ModelUnavailable        1   no such base model, or it could not be fetched or read
├── OutputLost              1   a result could not be written where it was to go; what was changed stands
├── EditFailed              1   the model gives no edit for a subject
└── NonFinite               1   a NaN or infinity where a number has to be
"""

PARTIAL_FAILURE = 3
"""Exit code when part of the input failed and the rest went through."""

FINDINGS = 5
"""Exit code when a check that was asked for found something (`--fail-under`, `diff --exit-code`)."""


class MemctlError(Exception):
    """An error a user can act on.

    Args:
        message: What is wrong, and where.
        hint: What to type or change next; empty when the message says it all.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(MemctlError):
    exit_code = 2


class AmbiguousId(UsageError):
    pass


class GateRefused(MemctlError):
    exit_code = 4


class StoreNotFound(MemctlError):
    exit_code = 10


class StoreLocked(MemctlError):
    exit_code = 11


class DamagedStore(MemctlError):
    exit_code = 12


class BaseMismatch(MemctlError):
    exit_code = 13


class BackendMissing(MemctlError):
    exit_code = 14


class UnknownFormat(MemctlError):
    pass


class StoreNotWritable(MemctlError):
    pass


class DiskFull(MemctlError):
    pass


class ModelUnavailable(MemctlError):
    pass


class OutputLost(MemctlError):
    pass


class EditFailed(MemctlError):
    """Some subjects have no edit.

    Args:
        reasons: For each of these subjects, what went wrong.
    """

    def __init__(self, reasons: dict[str, str]) -> None:
        what = "; ".join(f"{subject}: {reason}" for subject, reason in reasons.items())
        super().__init__(what, "nothing was changed; forget every fact of the subject, or undo a change of settings")
        self.reasons = reasons


class NonFinite(MemctlError):
    pass
