"""The one call that every command gets its model from."""

from typing import TYPE_CHECKING

from memctl.backends.protocol import Backend
from memctl.errors import BackendMissing, BaseMismatch, UsageError
from memctl.progress import Progress
from memctl.settings import Settings

if TYPE_CHECKING:
    from memctl.store.store import Store

ENGINES = ("torch", "numpy")


def open_backend(settings: Settings, store: "Store | None", progress: Progress) -> Backend:
    """The engine of the settings with its base model, which is fetched first if it is not there.

    Args:
        store: The store that the model is for; None for no store at all.

    Raises:
        UsageError: There is no such engine.
        BackendMissing: The engine is not installed.
        ModelUnavailable: The base model cannot be found, fetched or read.
        BaseMismatch: The store belongs to another base model.
    """
    backend = _engine(settings, progress)
    if store is not None and store.base.fingerprint != backend.fingerprint:
        raise BaseMismatch(
            f"the store {store.path} belongs to the base model {store.base.name} "
            f"({store.base.fingerprint[:12]}), not to {settings.model} ({backend.fingerprint[:12]})",
            f"use --model {store.base.name}, or another --store",
        )
    return backend


def _engine(settings: Settings, progress: Progress) -> Backend:
    if settings.backend == "numpy":
        from memctl.backends.numpy_backend import NumpyBackend

        return NumpyBackend()
    if settings.backend != "torch":
        raise UsageError(f"there is no backend {settings.backend!r}", f"choose one of {', '.join(ENGINES)}")
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
