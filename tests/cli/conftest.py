"""How the tests run the command line: in this process, with its own streams, away from the user's files."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
from cli_examples import BASE, Cli, Ran
from filelock import FileLock
from tiny_suites import CONFIGS

from memctl.cli.main import main
from memctl.store.store import Store


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / "home" / name.lower()))
    for name in ("MODEL", "DEVICE", "DEBUG"):
        monkeypatch.delenv(f"MEMCTL_{name}", raising=False)
    monkeypatch.setenv("MEMCTL_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("MEMCTL_BACKEND", "numpy")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command line in this process; without `stdin`, standard input is a terminal."""

    def run(*arguments: str, stdin: bytes | None = None) -> Ran:
        out, err = io.BytesIO(), io.BytesIO()
        with monkeypatch.context() as patch:
            source = io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin or b"")), encoding="utf-8")
            patch.setattr(source, "isatty", lambda: stdin is None, raising=False)
            patch.setattr(sys, "stdin", source)
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="utf-8"))
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding="utf-8"))
            code = main(arguments)
            sys.stderr.flush()
            text, errors = out.getvalue().decode(), err.getvalue().decode()
        as_json = "--json" in arguments
        return Ran(code, text, errors, [json.loads(line) for line in text.split("\n") if line] if as_json else [])

    return run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store where the command line looks for one; no model belongs to it."""
    return Store.create(tmp_path / "store", BASE, backend="numpy")


@pytest.fixture(scope="session")
def warmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache as the first use of the numpy engine leaves it; made once for all
    test processes of a run."""

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache-of-all-workers"
    store = str(tmp_path_factory.mktemp("first") / "store")
    with pytest.MonkeyPatch.context() as patch, FileLock(shared.with_suffix(".lock")):
        patch.setenv("MEMCTL_CACHE", str(shared))
        patch.setenv("MEMCTL_BACKEND", "numpy")
        assert main(["init", "--store", store, "-q"]) == 0
        assert main(["inject", "Warm Up lives in Oslo.", "--force", "--store", store, "-q"]) == 0
    return shared


@pytest.fixture
def warm_cache(warmed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lets commands of this process use the shared cache, and measures drift and answers on a little text only."""
    from memctl.bench import measure
    from memctl.evaluation import drift, questions

    all_windows = drift.held_out_windows
    monkeypatch.setattr(drift, "held_out_windows", lambda backend: all_windows(backend)[:4])
    shipped = questions.questions()
    few = questions.Questions(shipped.general[:4], shipped.identity[:2])
    for module in (questions, measure):
        monkeypatch.setattr(module, "questions", lambda: few)
    monkeypatch.setenv("MEMCTL_CACHE", str(warmed))
    return warmed


@pytest.fixture
def tiny_bench(warm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with tiny configs of all suites, and settings under which nothing takes long or is refused."""
    monkeypatch.setenv("MEMCTL_MODEL", "numpy")
    monkeypatch.setenv("MEMCTL_EDIT_STEPS", "1")
    monkeypatch.setenv("MEMCTL_EDIT_LOOK_ALIKES", "2,2")
    for name in ("PASSES", "LEAST_STEPS", "LOOK_ALIKES", "STRANGERS", "PROBES", "PASSAGES"):
        monkeypatch.setenv(f"MEMCTL_LORA_{name}", "1")
    monkeypatch.setenv("MEMCTL_SLEEP_DRIFT_BUDGET", "1e9")
    for suite, text in CONFIGS.items():
        (tmp_path / f"{suite}.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
