"""The bundled model, loaded once for all tests of the main job; the tests of one file run in one worker."""

from pathlib import Path

import pytest

from memctl.backends.factory import open_backend
from memctl.backends.protocol import Backend
from memctl.progress import silent
from memctl.settings import Settings, load_settings
from memctl.store.records import BaseRef
from memctl.store.store import Store


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "real" in item.path.parts:
            item.add_marker(pytest.mark.model)
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    # nothing takes as long as a few nights: begun last, one worker would wait for the other
    items.sort(key=lambda item: (item.path.stem != "test_real_sleep", "real" not in item.path.parts))


@pytest.fixture(scope="session")
def settings() -> Settings:
    return load_settings({"backend": "torch"}).settings


@pytest.fixture(scope="session")
def backend(settings: Settings) -> Backend:
    return open_backend(settings, None, silent)


@pytest.fixture
def store(tmp_path: Path, backend: Backend) -> Store:
    return Store.create(tmp_path / "store", BaseRef("smollm2-135m-instruct", backend.fingerprint))
