"""What a unit is fitted to be silent at."""

from collections.abc import Sequence

from memctl.backends.numpy_backend import NumpyBackend
from memctl.backends.protocol import Activations, Encoding, Tokens
from memctl.editing.relations import bank
from memctl.editing.statistics import AROUND, look_alike_inputs
from memctl.editing.subjects import look_alikes, mentions
from memctl.facts import Mode

SUBJECT, COUNTS = "Maren Okafor", (24, 6)


class Watched(NumpyBackend):
    """Keeps what was asked, and at which positions it was looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, Encoding]] = []
        self.positions: list[list[int]] = []

    def encode(self, prompt: str, mode: Mode, answer: str | None = None) -> Encoding:
        encoding = super().encode(prompt, mode, answer)
        self.asked.append((prompt, encoding))
        return encoding

    def activations(self, sequences: Sequence[Tokens], layer: int, positions: Sequence[Sequence[int]]) -> Activations:
        self.positions += [list(at) for at in positions]
        return super().activations(sequences, layer, positions)


def test_look_alikes_are_asked_what_people_ask() -> None:
    engine = Watched()
    look_alike_inputs(engine, 1, SUBJECT, COUNTS)
    wordings = {text for relation in bank().values() for text in (*relation.raw, *relation.questions)}
    from_bank = [
        prompt.replace(name, "{s}") in wordings
        for name, (prompt, _) in zip(look_alikes(SUBJECT, *COUNTS), engine.asked, strict=True)
    ]
    assert from_bank == [False, True] * (len(from_bank) // 2)


def test_a_unit_is_told_to_be_silent_around_a_look_alike_and_at_all_that_follows() -> None:
    engine = Watched()
    inputs = look_alike_inputs(engine, 1, SUBJECT, COUNTS)
    for name, (_, encoding), positions in zip(look_alikes(SUBJECT, *COUNTS), engine.asked, engine.positions, strict=True):
        begin = mentions(encoding, name)[0][0]
        assert positions == list(range(max(1, begin - AROUND), len(encoding.tokens)))  # never a sequence's first token
    assert len(inputs) == sum(map(len, engine.positions))
