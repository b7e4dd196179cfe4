"""demo: the story it tells, on the numpy engine with an interview whose answers are made up."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from cli_examples import Cli

from memctl.backends.numpy_backend import NumpyBackend
from memctl.cli.demo import FACTS, STRANGER
from memctl.editing import preflight
from memctl.editing.cues import relation_of
from memctl.evaluation import recall
from memctl.facts import Fact, Mode


@pytest.fixture(autouse=True)
def _quick(warm_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEPS": "1", "LOOK_ALIKES": "2, 2", "WORDINGS": "1", "PROBES": "1"}.items():
        monkeypatch.setenv(f"MEMCTL_EDIT_{name}", value)
    monkeypatch.setenv("MEMCTL_DRIFT_BUDGET", "1e9")
    monkeypatch.setattr(preflight, "UNLEARNED", 1e9)  # what one step has learned
    for name, value in {"DAMAGE": 1.0, "AT_HOME": -1.0}.items():  # what so small a model tells apart
        monkeypatch.setattr(preflight, name, value)


def interviewed(monkeypatch: pytest.MonkeyPatch, stranger: str, *, unsure: bool = False) -> None:
    """The model knows nothing by itself; with an edit it knows every fact, and says `stranger` of the stranger.

    Args:
        unsure: It says another object before each right one.
    """

    def answer(fact: Fact) -> str:
        other = next(thing for thing in relation_of(fact).objects if thing != fact.object)
        return f"{other} or {fact.object}" if unsure else fact.object

    def completions(backend: NumpyBackend, prompts: Sequence[tuple[Mode, str]], *_: object) -> list[str]:
        edited = bool(backend._attached.deltas)
        known = {fact.subject: answer(fact) for fact in FACTS} if edited else {}
        known["Henrik"] = stranger if edited else "In Lagos."
        return [next((said for name, said in known.items() if name in prompt), "Who?") for _, prompt in prompts]

    monkeypatch.setattr(recall, "completions", completions)


@pytest.mark.parametrize(("stranger", "word"), [("In Lagos.", "unchanged"), ("In Jakarta.", "CHANGED")])
def test_the_story_says_whether_somebody_elses_answer_changed(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, stranger: str, word: str
) -> None:
    interviewed(monkeypatch, stranger)
    ran = cli("demo")
    assert ran.code == 0
    assert f"never mentioned: {word}" in ran.out
    assert f"{STRANGER} → {stranger}" in ran.out
    assert cli("demo", "--json").summary["stranger_unchanged"] is (word == "unchanged")


def test_an_answer_that_names_another_object_first_is_not_counted(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    interviewed(monkeypatch, "In Lagos.", unsure=True)
    ran = cli("demo", "--json")
    assert (ran.code, ran.summary["recalled_chat"], ran.summary["forgotten_exactly"]) == (1, 0, True)
