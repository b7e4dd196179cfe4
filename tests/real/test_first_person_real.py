"""What is the user's on the bundled model: asked for in the first person, silent about everybody else."""

from real_examples import write

from memctl.backends.protocol import Backend
from memctl.deltas import Composition
from memctl.evaluation.drift import measure_drift
from memctl.evaluation.recall import completions, position
from memctl.facts import Mode
from memctl.progress import silent
from memctl.settings import Settings
from memctl.store.store import Store
from memctl.wake.live import composition
from memctl.wake.sentence import parse_sentence

FACTS = (parse_sentence("My sister lives in Porto."), parse_sentence("My dog is called Biscuit."))
OTHERS: list[tuple[Mode, str]] = [
    ("chat", "Where does Henrik Moreau live?"),
    ("chat", "Where does my brother live?"),
    ("raw", "Henrik Moreau lives in the city of"),
    ("chat", "What is my cat called?"),
    ("chat", "What is the name of Priya's dog?"),
]
OWN: list[tuple[Mode, str]] = [
    ("chat", "What is my favorite food?"),
    ("chat", "Which city should I visit in Italy?"),
]


def test_it_is_remembered_and_nobody_else_is_touched(store: Store, backend: Backend, settings: Settings) -> None:
    after = write(store, backend, settings, *FACTS)
    assert [found.chat for found in after] == [1.0, 1.0]
    assert [found.raw for found in after] == [1.0, 1.0]
    asked: list[tuple[Mode, str]] = [("chat", "Where does my sister live?"), ("chat", "What is my dog's name?")]
    with backend.attached(Composition()):
        before = completions(backend, OTHERS, silent, "")
    with backend.attached(composition(store)):
        said = completions(backend, [*asked, *OTHERS, *OWN], silent, "")
    assert position(said[0], "Porto") >= 0, said[0]
    assert position(said[1], "Biscuit") >= 0, said[1]
    assert [new for new in said[2:] if position(new, "Porto") >= 0 or position(new, "Biscuit") >= 0] == []
    assert sum(old == new for old, new in zip(before, said[2:], strict=False)) >= len(OTHERS) - 1
    assert abs(measure_drift(backend, composition(store), silent).perplexity) < 0.005
