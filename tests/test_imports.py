"""Who may import whom, and what the commands that need no model must not load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "memctl"

LEVELS = (
    {"errors"},
    {"adapters", "data", "deltas", "facts", "first_person", "progress", "settings", "store", "toml_files"},
    {"models"},
    {"backends"},
    {"consolidation", "editing", "evaluation"},
    {"bench", "export", "sleep", "wake"},
    {"cli"},
    {"__init__", "__main__"},
)
"""From the ground up. A module imports from its own level or from one below."""

HEAVY = {"torch", "transformers", "scipy", "peft", "mlx", "numpy", "safetensors", "pygments"}
CHEAP = (["--help"], ["status"], ["log"], ["show"], ["diff"], ["verify"], ["facts"], ["tag"], ["config"])


def level(part: str) -> int:
    return next(index for index, parts in enumerate(LEVELS) if part in parts)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Top-level parts of memctl that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "memctl" and parts[1] != "__version__":
                yield parts[1]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path: Path) -> None:
    own = level(part_of(path))
    for part in imported(path):
        assert level(part) <= own, f"{path.relative_to(PACKAGE)} must not import memctl.{part}"


def test_click_is_never_imported() -> None:
    """Typer carries its own copy; another one would be a second set of exceptions and contexts."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Import) and any(a.name.split(".")[0] == "click" for a in node.names))
            assert not (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "click")


def loaded_by(arguments: list[str], tmp_path: Path) -> set[str]:
    """Top-level modules that a command line has loaded when it ends."""
    code = (
        "import sys\n"
        "from memctl.cli.main import main\n"
        f"code = main({arguments!r})\n"
        "assert code == 0, code\n"
        "sys.stderr.write(' '.join({name.split('.')[0] for name in sys.modules}))\n"
    )
    environment = {"HOME": str(tmp_path), "MEMCTL_STORE": str(tmp_path / "store"), "PATH": "/usr/bin:/bin"}
    environment["PYTHONPATH"] = str(PACKAGE.parent)
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return set(ran.stderr.split())


@pytest.fixture
def small_store(tmp_path: Path) -> Path:
    from memctl.store.records import BaseRef
    from memctl.store.store import Store

    Store.create(tmp_path / "store", BaseRef(name="tiny", fingerprint="f" * 64))
    return tmp_path


@pytest.mark.parametrize("arguments", CHEAP, ids=" ".join)
def test_cheap_commands_load_nothing_heavy(arguments: list[str], small_store: Path) -> None:
    if arguments == ["diff"]:
        arguments = ["diff", "HEAD", "HEAD"]
    found = loaded_by(arguments, small_store) & HEAVY
    # rich shows the help, and brings pygments along
    assert found <= ({"pygments"} if arguments == ["--help"] else set()), arguments


def test_showing_a_fact_reads_its_delta_without_an_engine(small_store: Path) -> None:
    import numpy as np

    from memctl.deltas import Columns, Delta, Edit
    from memctl.facts import LedgerEntry, make_fact
    from memctl.store.records import DeltaRef, Ledger
    from memctl.store.store import Store

    fact = make_fact("Ana Lund", "lives in", "Oslo")
    some = np.ones((1, 4), np.float32)
    delta = Delta((Edit(1, Columns(some, some, some.T), some.T, some.T),))
    with Store.open(small_store / "store").writer(command="inject") as writer:
        ref = DeltaRef("Ana Lund", (fact.id,), writer.put(delta.to_bytes(), ".safetensors"), "s")
        ledger = Ledger({fact.id: LedgerEntry(fact.id, fact)})
        writer.commit(ledger=ledger, deltas=[ref], weights={}, metrics={}, message="one")
    assert loaded_by(["show", fact.id], small_store) & {"torch", "transformers", "peft", "mlx"} == set()


def test_the_package_itself_loads_nothing_heavy() -> None:
    code = "import memctl, memctl.store.store, memctl.facts, memctl.settings, memctl.models.source, sys\n"
    code += f"print({sorted(HEAVY)!r} and set({sorted(HEAVY)!r}) & set(sys.modules))"
    environment = {"PYTHONPATH": str(PACKAGE.parent)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
