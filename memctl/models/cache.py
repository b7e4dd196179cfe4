"""The cache directory: converted models, fingerprints, statistics, all of which can be rebuilt."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

Progress = Callable[[str, float | None], None]
"""What is being done, and how far it is (0 to 1, or None if that cannot be known)."""


def cache_dir() -> Path:
    """`$MEMCTL_CACHE`, or the user's cache directory of the platform. Not created here."""
    return Path(os.environ.get("MEMCTL_CACHE") or platformdirs.user_cache_dir("memctl")).expanduser().absolute()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name of this call's own beside `path`, to write a file under.

    At the end of the block the file becomes `path`, whole: of several processes that make the same one, the last wins.
    Where the block fails nothing is left of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}-{os.urandom(4).hex()}{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
