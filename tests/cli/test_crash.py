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


def killed(arguments: list[str], after: float) -> bool:
    """Runs a command line and kills it after so many seconds; returns whether it was still at work."""
    child = started(arguments)
    deadline = time.monotonic() + after
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def seconds(arguments: list[str]) -> float:
    """How long a command line takes when it is left alone."""
    begun = time.monotonic()
    _, status = os.waitpid(started(arguments), 0)
    assert os.waitstatus_to_exitcode(status) == 0, arguments
    return time.monotonic() - begun


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
    durations = {
        "inject": seconds(["inject", "--force", f"{NAMES[1]} lives in {CITIES[1]}."]),
        "forget": seconds(["forget", sorted(state(store)[0])[0]]),
        "rollback": seconds(["rollback", "HEAD~1"]),
        "gc": seconds(["gc", "--keep-last", "6"]),
    }
    compositions: dict[State, str] = {}
    at_work = 0
    for number in range(KILLS):
        facts, composition = state(store)
        compositions.setdefault(facts, composition)
        command = some_command(rng, store)
        lasts = durations[command[0]]
        at_work += killed(command, rng.uniform(0.7 if number % 2 else 0.0, 1.05) * lasts)

        report = verify(store.path)
        assert not report.findings, (command, report.findings)
        facts_now, composition_now = state(store)
        if command[0] == "inject":
            assert len(facts_now ^ facts) in (0, 1, 2), command  # a fact, and the one that it supersedes
        elif command[0] == "forget":
            assert facts_now in (facts, facts - {command[1]})
        elif command[0] == "gc":
            assert (facts_now, composition_now) == (facts, composition)
        assert compositions.setdefault(facts_now, composition_now) == composition_now, command

        assert cli("tag", "alive").code == 0
        assert store.tags()["alive"] == store.head().id
    assert at_work >= KILLS // 3, "hardly any kill met a command at work"
    assert cli("verify", "--deep").code == 0
