"""A scripted engine in the place of the model, and a store that was told of four facts."""

from pathlib import Path

import pytest
from sleep_examples import FACTS, ScriptedEngine, remembering

from memctl.evaluation import drift
from memctl.sleep import learning
from memctl.store.store import Store
from memctl.wake import draft


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> ScriptedEngine:
    """The scripted engine, in the places of search and training; measures drift on one window of text."""
    engine = ScriptedEngine(FACTS)
    monkeypatch.setenv("MEMCTL_CACHE", str(tmp_path_factory.getbasetemp() / "cache-of-sleep-tests"))
    monkeypatch.setattr(draft, "find_traces", engine.find)
    monkeypatch.setattr(learning, "learn", engine.train)
    all_windows = drift.held_out_windows
    monkeypatch.setattr(drift, "held_out_windows", lambda backend: [window[:32] for window in all_windows(backend)[:1]])
    return engine


@pytest.fixture
def store(tmp_path: Path, engine: ScriptedEngine) -> Store:
    return remembering(tmp_path / "store", engine)
