"""The one call that every command gets its model from."""

from typing import TYPE_CHECKING

from memctl.backends.protocol import Backend
from memctl.errors import BackendMissing, BaseMismatch, UsageError
from memctl.progress import Progress
from memctl.settings import ENGINES, NUMPY, Settings

if TYPE_CHECKING:
    from memctl.store.store import Store


def open_backend(settings: Settings, store: "Store | None", progress: Progress) -> Backend:
    """The engine of the settings with its base model, which is fetched first if it is not there.

    Args:
        store: The store that the model is for; None for no store at all.

    Raises:
        UsageError: There is no such engine, or it has no such model.
        BackendMissing: The engine is not installed.
        ModelUnavailable: The base model cannot be found, fetched or read.
        BaseMismatch: The store belongs to another base model.
    """
    if settings.backend not in ENGINES:
        raise UsageError(f"there is no backend {settings.backend!r}", f"choose one of {', '.join(ENGINES)}")
    if store is not None and store.base.name == NUMPY != settings.backend:
        raise _mismatch(settings, store)  # said before a model is loaded
    backend = _engine(settings, progress)
    if store is not None and store.base.fingerprint != backend.fingerprint:
        raise _mismatch(settings, store, backend.fingerprint)
    return backend


def _mismatch(settings: Settings, store: "Store", fingerprint: str = "") -> BaseMismatch:
    """The error for a store of another base model, with the way to the right one."""
    own, other = store.base.name, settings.model
    if NUMPY in (own, settings.backend) and own != settings.backend:
        hint = f"use --backend {NUMPY if own == NUMPY else ENGINES[0]}: the numpy engine has a built-in tiny model and no other"
    elif own == other:
        hint = f"{own} is not what it was when the store was made: restore it, or make a new store with another --store"
    else:
        hint = f"use --model {own}, or another --store"
    found = f"{other} ({fingerprint[:12]})" if fingerprint else f"one of the {settings.backend} engine"
    return BaseMismatch(
        f"the store {store.path} belongs to the base model {own} ({store.base.fingerprint[:12]}), not to {found}", hint
    )


def _engine(settings: Settings, progress: Progress) -> Backend:
    if settings.backend == NUMPY:
        if settings.model != NUMPY:
            raise UsageError(
                f"the numpy engine has a built-in tiny model and cannot run {settings.model}",
                f"leave the model out, or use --backend {ENGINES[0]}",
            )
        from memctl.backends.numpy_backend import NumpyBackend

        return NumpyBackend()
    from memctl.models.source import fetch, find

    def fetching(what: str, share: float | None) -> None:
        progress(what, int(100 * (share or 0)), 100)

    folder = fetch(find(settings.model), fetching)
    progress("loading the model", 0, 1)
    try:
        from memctl.backends.torch_backend import TorchBackend
    except ImportError as error:
        raise BackendMissing(f"the torch backend cannot be loaded: {error}", "pip install memctl") from error
    backend = TorchBackend(folder, device=settings.device, dtype=settings.dtype)
    progress("loading the model", 1, 1)
    return backend
