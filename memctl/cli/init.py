"""`memctl init`: a memory for a base model."""

from memctl.cli.app import Run
from memctl.cli.views import SHORT
from memctl.settings import NUMPY, Settings


def init(run: Run) -> None:
    """Creates an empty memory for a base model, by default the bundled small one."""
    from memctl.backends.factory import open_backend
    from memctl.store.records import BaseRef
    from memctl.store.store import Store

    settings = run.effective.settings
    backend = open_backend(settings, None, run.out.progress)
    base = BaseRef(name=_name(settings), fingerprint=backend.fingerprint)
    store = Store.create(settings.store, base, backend=settings.backend)
    head = store.head()
    run.out.record(
        "store",
        {"id": head.id, "store": str(store.path), "base": {"name": base.name, "fingerprint": base.fingerprint}},
        f"made a memory for {base.name} ({base.fingerprint[:SHORT]}) at {store.path}",
        "green",
    )
    run.out.summary({"result": "done", "snapshot": head.id, "composition": head.composition})


def _name(settings: Settings) -> str:
    """The model's full name, under which every later command finds it, whatever folder that one runs in."""
    from memctl.models.source import find

    return NUMPY if settings.backend == NUMPY else find(settings.model).name
