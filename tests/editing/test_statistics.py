"""What a unit is fitted to be silent at."""

from collections.abc import Sequence

from memctl.backends.numpy_backend import NumpyBackend
from memctl.backends.protocol import Activations, Encoding, Tokens
from memctl.editing.relations import bank
from memctl.editing.selectors import _generic
from memctl.editing.statistics import AROUND, behind_text, look_alike_inputs
from memctl.editing.subjects import look_alikes, mentions
from memctl.facts import Mode

SUBJECT, COUNTS = "Maren Okafor", (24, 6)


class Watched(NumpyBackend):
    """Keeps what was asked, and at which positions it was looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, Encoding]] = []
        self.positions: list[list[int]] = []
        self.begun: list[int] = []

    def encode(self, prompt: str, mode: Mode, answer: str | None = None) -> Encoding:
        encoding = super().encode(prompt, mode, answer)
        self.asked.append((prompt, encoding))
        return encoding

    def activations_behind(
        self, sequences: Sequence[Tokens], layer: int, positions: Sequence[Sequence[int]], begun: Sequence[int]
    ) -> Activations:
        self.positions += [list(at) for at in positions]
        self.begun += begun
        return super().activations_behind(sequences, layer, positions, begun)


def looked_at(templates: Sequence[tuple[Mode, str]]) -> tuple[Watched, list[str]]:
    """An engine that was asked about the subject's look-alikes, and their names, each of which is met twice."""
    engine = Watched()
    inputs = look_alike_inputs(engine, 1, SUBJECT, templates, COUNTS)
    assert len(inputs) == sum(map(len, engine.positions))
    return engine, [name for name in look_alikes(SUBJECT, *COUNTS) for _ in range(2)]


TOLD: list[tuple[Mode, str]] = [("raw", "For a living, {s} mends"), ("chat", "What does {s} mend?"), ("raw", "{s} mends")]


def test_look_alikes_are_met_where_the_subject_was_and_in_what_people_ask() -> None:
    engine, names = looked_at(TOLD)
    met = [prompt.replace(name, "{s}") for name, (prompt, _) in zip(names, engine.asked, strict=True)]
    assert met[1::2] == [TOLD[k % 3][1] for k in range(len(names) // 2)]
    wordings = {text for relation in bank().values() for text in (*relation.raw, *relation.questions)}
    assert [text in wordings for text in met[::2]] == [False, True] * (len(met) // 4)


def test_a_unit_is_told_to_be_silent_around_a_look_alike_and_where_it_ends() -> None:
    engine, names = looked_at(TOLD)
    for k, (name, (_, encoding), positions) in enumerate(zip(names, engine.asked, engine.positions, strict=True)):
        mention = mentions(encoding, name)[0]
        around = range(max(1, mention[0] - AROUND), len(encoding.tokens))  # never a sequence's first token
        assert positions == list([mention[-1:], around][k % 2 == 0])
        assert engine.begun[k] <= mention[0]  # what is kept for others names nobody


def test_a_unit_knows_its_subject_behind_other_text() -> None:
    engine = Watched()
    _generic(engine, 1, SUBJECT)
    behind = {text.replace("{s}", SUBJECT) for _, text in behind_text(engine)}
    asked = [(prompt, encoding) for prompt, encoding in engine.asked if prompt in behind]
    assert len(asked) == len(behind)


def test_a_subject_is_met_behind_text_that_is_always_the_same() -> None:
    found = behind_text(NumpyBackend())
    assert found == behind_text(NumpyBackend())
    assert len(found) > 1
    for mode, text in found:
        assert mode == "raw"
        assert text.endswith("{s}")
        assert text.count("{s}") == 1
