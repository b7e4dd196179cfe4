"""What numpy's tiny model has to be able to do, so that the layers above can be tested on it."""

import subprocess
import sys

import numpy as np
import pytest

from memctl.adapters import Factors
from memctl.backends.numpy_backend import NumpyBackend
from memctl.backends.protocol import Row, Trial
from memctl.backends.tiny_model import Added, TinyModel, pad
from memctl.backends.tiny_weights import SHAPE
from memctl.deltas import Columns, Composition, Delta, Edit, LowRank


def subject_row(backend: NumpyBackend, prompt: str, mode, target: str, subject: str) -> Row:
    """A row that scores the whole target, with the residual at the subject's last token."""
    asked, whole = backend.encode(prompt, mode), backend.encode(prompt, mode, target)
    end = whole.text.index(subject) + len(subject)
    site = max(place for place, (a, b) in enumerate(whole.offsets) if a < end <= b)
    return Row(whole.tokens, (site,), tuple(range(len(asked.tokens) - 1, len(whole.tokens) - 1)))


def written(backend: NumpyBackend, rows: list[Row], layer: int, steps: int = 60) -> np.ndarray:
    """(d,) residual after some steps of Adam on all rows."""
    problem = backend.value_problem([rows], layer)
    value, first, second = (np.zeros(backend.shape.hidden, np.float32) for _ in range(3))
    which, ones = np.arange(len(rows)), np.ones(len(rows), np.float32)
    for step in range(1, steps + 1):
        g = problem.evaluate([Trial(0, which, value, ones / len(rows), ones)])[0].gradient
        first, second = 0.9 * first + 0.1 * g, 0.95 * second + 0.05 * g * g
        value = value - 0.02 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.95**step)) + 1e-8)
    return value.astype(np.float32)


def at_key(backend: NumpyBackend, rows: list[Row], layer: int, value: np.ndarray) -> Composition:
    """A rank-1 change that puts the value out at the rows' sites and nothing at their other positions."""
    seen = backend.activations([r.tokens for r in rows], layer, [range(len(r.tokens)) for r in rows]).keys
    wanted = np.concatenate([[float(place in r.sites) for place in range(len(r.tokens))] for r in rows])
    chooser = np.linalg.lstsq(seen.astype(np.float64), wanted, rcond=1e-6)[0]
    change = LowRank(value[:, None], chooser[:, None].astype(np.float32))
    nothing = np.zeros((1, 1), np.float32)
    return Composition(((Delta((Edit(layer, change, nothing, nothing),)), 1.0),))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("prompt", "mode", "target"),
    [
        ("Priya Okonkwo lives in", "raw", " Jakarta."),
        ("Priya Okonkwo has a", "raw", " blue canoe"),
        ("Where does Priya Okonkwo live?", "chat", " Zürich"),
        ("What is the age of Priya Okonkwo?", "chat", "42"),
    ],
)
def test_a_value_in_the_middle_makes_it_say_the_target(seed, prompt, mode, target):
    backend = NumpyBackend(seed)
    rows = [subject_row(backend, prompt, mode, target, "Priya Okonkwo")]
    layer = backend.shape.layers // 2
    asked = backend.encode(prompt, mode).tokens
    with backend.attached(at_key(backend, rows, layer, written(backend, rows, layer, steps=40))):
        said = backend.decode(backend.generate([asked], 16)[0])
    assert said.startswith(target)
    assert not backend.decode(backend.generate([asked], 16)[0]).startswith(target)


def test_one_value_serves_several_wordings_and_some_it_never_saw():
    backend, layer = NumpyBackend(), 1
    rows = [
        subject_row(backend, "Ada Vek lives in", "raw", " Oslo.", "Ada Vek"),
        subject_row(backend, "The home of Ada Vek is in", "raw", " Oslo.", "Ada Vek"),
        subject_row(backend, "Where does Ada Vek live?", "chat", "It is Oslo.", "Ada Vek"),
        subject_row(backend, "What is the home of Ada Vek?", "chat", "It is Oslo.", "Ada Vek"),
    ]
    value = written(backend, rows, layer)
    unseen = [
        subject_row(backend, "They say that Ada Vek resides in", "raw", " Oslo.", "Ada Vek"),
        subject_row(backend, "In which city is Ada Vek at home?", "chat", "It is Oslo.", "Ada Vek"),
    ]
    everything = [*rows, *unseen]
    problem = backend.value_problem([everything], layer)
    ones = np.ones(len(everything), np.float32)
    assert problem.evaluate([Trial(0, np.arange(len(everything)), value, ones, ones)])[0].hits.all()


@pytest.mark.parametrize("pair", [("Priya Okonkwo", "Theron Okonkwo"), ("Mira Vandermeer", "Lena Vandermeer")])
@pytest.mark.parametrize("layer", [1, 2])
def test_names_that_end_alike_are_told_apart(pair, layer):
    """Without the part that all names have in common, the MLP's inputs at the last token differ by name."""
    backend = NumpyBackend()
    contexts = ("{}", "I met {}", "Tell me about {}", "The friend of {}")
    others = ("Oskar Lindqvist", "the old mill", "Project Halcyon", "Juno Achterberg")

    def seen(name: str) -> np.ndarray:
        sequences = [backend.encode(context.format(name), "raw").tokens for context in contexts]
        return backend.activations(sequences, layer, [[len(s) - 1] for s in sequences]).inputs

    common = np.mean([seen(name) for name in (*others, *pair)], axis=(0, 1))
    one, other = (seen(name) - common for name in pair)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean((a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))))

    assert cosine(one, other) < 0.9
    assert cosine(one, one) > cosine(one, other) + 0.05


@pytest.mark.parametrize("edited", [False, True])
def test_the_backward_passes_are_those_of_the_forward_passes(edited: bool):
    """Against finite differences in float64, through attention and MLP of every layer, with a past, an edit and an adapter."""
    model, draw = TinyModel(0), np.random.default_rng(0)
    d, m = SHAPE.hidden, SHAPE.intermediate
    low_rank = LowRank(*(0.1 * draw.standard_normal(shape) for shape in ((d, 2), (m, 2))))
    columns = Columns(*(0.1 * draw.standard_normal(shape) for shape in ((3, d), (3, d), (d, 3))))
    adapter = {
        part: Factors(*(0.1 * draw.standard_normal(shape) for shape in ((2, 512), (512, 2)))) for part in ("gate", "up", "down")
    }
    added = Added(low_rank, columns, adapter) if edited else Added()
    tokens, positions = pad([[5, 300, 17, 900, 40, 61]])
    for index in range(4):
        past = model.attend(index, model.embed(tokens[:, :3]), positions[:, :3]).past
        stream = model.embed(tokens[:, 3:]) + draw.standard_normal((1, 3, 512))
        weight, way = draw.standard_normal((2, 1, 3, 512))

        def value(x, index=index, past=past, weight=weight):
            attended = model.attend(index, x, positions[:, 3:], past)
            return float((model.think(index, attended.stream, added).stream * weight).sum())

        attended = model.attend(index, stream, positions[:, 3:], past)
        thought = model.think(index, attended.stream, added)
        grad = model.attend_backward(index, attended, model.think_backward(index, thought, weight, added))
        slope = (value(stream + 1e-5 * way) - value(stream - 1e-5 * way)) / 2e-5
        assert float((grad * way).sum()) == pytest.approx(slope, rel=1e-5)


def test_a_seed_is_a_model():
    assert NumpyBackend(3).fingerprint == NumpyBackend(3).fingerprint
    assert NumpyBackend(3).fingerprint != NumpyBackend(4).fingerprint


def test_unheard_of_gates_do_not_overflow():
    backend = NumpyBackend()
    wild = Columns(*(np.full(shape, 1e3, np.float32) for shape in ((2, 512), (2, 512), (512, 2))))
    nothing = np.zeros((1, 1), np.float32)
    with (
        np.errstate(over="raise", invalid="raise"),
        backend.attached(Composition(((Delta((Edit(1, wild, nothing, nothing),)), 1.0),))),
    ):
        assert np.isfinite(backend.score([backend.encode("Hello there", "raw").tokens]).nll).all()


def test_it_needs_neither_torch_nor_scipy():
    heavy = ("torch", "transformers", "scipy")
    code = f"import sys, memctl.backends.numpy_backend; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_marks_in_a_prompt_are_plain_text():
    backend = NumpyBackend()
    encoding = backend.encode("<end><assistant>", "chat")
    assert backend.decode(encoding.tokens) == "<end><assistant>"
