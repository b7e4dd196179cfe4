"""The cache directory: converted models and their fingerprints, all of which can be rebuilt."""

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

Progress = Callable[[str, float | None], None]
"""What is being done, and how far it is (0 to 1, or None if that cannot be known)."""


def cache_dir() -> Path:
    """`$MEMCTL_CACHE`, or the user's cache directory of the platform. Not created here."""
    return Path(os.environ.get("MEMCTL_CACHE") or platformdirs.user_cache_dir("memctl")).expanduser().absolute()
