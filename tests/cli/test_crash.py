"""kill -9 at random moments: the store is the one before or the one after, and the next command works.

The commands run in forked children of a process that has everything loaded, so that the moments fall into the work and
not into the imports. Half of them fall into its last part, where the writing is.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from cli_examples import Cli

from memctl.cli.main import main
from memctl.store.store import Store
from memctl.store.verify import verify

KILLS = 25
NAMES = ("Priya Okonkwo", "Marcus Bell", "Ines Varga", "Tomas Lund", "Aiko Mori")
CITIES = ("Jakarta", "Oslo", "Lima", "Quito")

State = frozenset[str]
"""Ids of the live facts."""


def state(store: Store) -> tuple[State, str]:
    """The live facts at HEAD, and its composition."""
    head = store.head()
    return frozenset(entry.id for entry in store.ledger(head).active()), head.composition


def started(arguments: list[str]) -> int:
    """Process id of a child that runs a command line and says nothing."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        sys.stdin, sys.stdout, sys.stderr = (open(n, "w" if n else "r") for n in (0, 1, 2))  # noqa: SIM115
        code = main(arguments)
    finally:
        os._exit(code)


def killed(arguments: list[str], after: float) -> float | None:
    """Runs a command line and kills it after so many seconds; how long it took, if it was done before that."""
    begun = time.monotonic()
    child = started(arguments)
    while (passed := time.monotonic() - begun) < after:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0, arguments
            return passed
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def some_command(rng: random.Random, store: Store) -> list[str]:
    """A command that has something to do."""
    live = sorted(entry.id for entry in store.ledger().active())
    kind = rng.choice(["inject", "inject", "forget", "rollback", "gc"])
    if kind == "forget" and live:
        return ["forget", rng.choice(live)]
    if kind == "rollback":
        return ["rollback", rng.choice(list(store.log())[:6]).id]
    if kind == "gc":
        return ["gc", "--keep-last", str(rng.randint(2, 6))]
    return ["inject", "--force", f"{rng.choice(NAMES)} lives in {rng.choice(CITIES)}."]


@pytest.mark.parametrize("seed", range(8))
def test_a_killed_command_leaves_the_store_before_or_after(
    cli: Cli, warm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    for name, value in {"STEPS": "3", "LOOK_ALIKES": "2, 2", "WORDINGS": "1", "PROBES": "1"}.items():
        monkeypatch.setenv(f"MEMCTL_EDIT_{name}", value)
    rng = random.Random(seed)
    assert cli("init").code == 0
    assert cli("inject", "--force", f"{NAMES[0]} lives in {CITIES[0]}.").code == 0
    store = Store.open(tmp_path / "store")
    lasts = dict.fromkeys(("inject", "forget", "rollback", "gc"), 1.0)
    compositions: dict[State, str] = {}
    kills = attempts = 0
    while kills < KILLS:
        attempts += 1
        assert attempts < 8 * KILLS, "hardly any kill met a command at work"
        facts, composition = state(store)
        compositions.setdefault(facts, composition)
        command = some_command(rng, store)
        kind = command[0]
        took = killed(command, rng.uniform(0.7 if attempts % 2 else 0.0, 1.1) * lasts[kind])
        if took is None:
            kills += 1
        lasts[kind] = 1.1 * lasts[kind] if took is None else took  # follows the machine's load

        report = verify(store.path)
        assert not report.findings, (command, report.findings)
        facts_now, composition_now = state(store)
        if kind == "inject":
            assert len(facts_now ^ facts) in (0, 1, 2), command  # a fact, and the one that it supersedes
        elif kind == "forget":
            assert facts_now in (facts, facts - {command[1]})
        elif kind == "gc":
            assert (facts_now, composition_now) == (facts, composition)
        assert compositions.setdefault(facts_now, composition_now) == composition_now, command

        assert cli("tag", "alive").code == 0
        assert store.tags()["alive"] == store.head().id
    assert cli("verify", "--deep").code == 0
