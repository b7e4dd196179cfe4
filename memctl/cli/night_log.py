"""A line for every sleep in the user's state directory, rotated: what a machine did while nobody looked."""

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

import platformdirs

SIZE, FILES = 256 * 1024, 3
"""Bytes of a file, and older ones that are kept."""


def log_path() -> Path:
    """The newest file; it need not exist."""
    return Path(platformdirs.user_state_dir("memctl")) / "sleep.log"


def log_night(store: Path, result: str, said: str) -> None:
    """Adds a line. A log that cannot be written keeps nobody from sleeping."""
    line = logging.LogRecord("memctl", logging.INFO, "", 0, "%s: %s: %s", (store, result, said), None)
    try:
        log_path().parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(log_path(), maxBytes=SIZE, backupCount=FILES, encoding="utf-8")
    except OSError:
        return
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk
    handler.emit(line)
    handler.close()
