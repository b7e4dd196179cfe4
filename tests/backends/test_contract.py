"""What every engine owes to the layers above, checked on numpy's tiny model and on random torch models."""

from dataclasses import replace

import numpy as np
import pytest
from engines import FAMILIES, new_engine

from memctl.adapters import Adapter, Factors, layer_of
from memctl.backends.protocol import Backend, Lesson, Row, Trial
from memctl.deltas import Columns, Composition, Delta, Edit, LowRank
from memctl.editing.fold import folded
from memctl.errors import MemctlError

ALL = ["numpy", *FAMILIES]
EVERY = pytest.mark.parametrize("backend", ALL, indirect=True)
EVERY_ROUNDING = pytest.mark.parametrize("backend", [*ALL, "llama bfloat16"], indirect=True)
MAIN = pytest.mark.parametrize("backend", ["numpy", "llama"], indirect=True)

LAYER = 1
PROMPTS = ("Priya Okonkwo lives in", "The capital of Peru is", "Zoë Müller", "a")


def tokens(backend: Backend, prompt: str, answer: str | None = None, mode="raw") -> tuple[int, ...]:
    return backend.encode(prompt, mode, answer).tokens


def composition(layer: int, change: LowRank | Columns, scale: float = 1.0) -> Composition:
    nothing = np.zeros((1, 1), np.float32)
    return Composition(((Delta((Edit(layer, change, nothing, nothing),)), scale),))


def noise(backend: Backend, rank: int = 3, size: float = 0.3, seed: int = 0) -> tuple[LowRank, Columns]:
    d, m = backend.shape.hidden, backend.shape.intermediate
    draw = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (size * draw.standard_normal((rows, columns))).astype(np.float32)

    return LowRank(matrix(d, rank), matrix(m, rank)), Columns(matrix(rank, d), matrix(rank, d), matrix(d, rank))


def adapter(backend: Backend, rank: int = 2, size: float = 0.2) -> Adapter:
    """One on every projection of the model."""
    draw = np.random.default_rng(5)
    made = {}
    for path, (inward, outward) in backend.projections().items():
        A, B = draw.standard_normal((rank, inward)) / inward**0.5, size * draw.standard_normal((outward, rank))
        made[path] = Factors(A.astype(np.float32), B.astype(np.float32))
    return Adapter(made)


def row(backend: Backend, prompt: str, answer: str, sites: tuple[int, ...], **kind) -> Row:
    start = len(tokens(backend, prompt))
    whole = tokens(backend, prompt, answer)
    return Row(whole, sites, tuple(range(start - 1, len(whole) - 1)), **kind)


def evaluate(problem, residual, rows=None, weights=None, scales=None, count=1):
    rows = np.arange(count) if rows is None else np.array(rows)
    weights = np.ones(len(rows), np.float32) if weights is None else np.array(weights, np.float32)
    scales = np.ones(len(rows), np.float32) if scales is None else np.array(scales, np.float32)
    (found,) = problem.evaluate([Trial(0, rows, np.asarray(residual, np.float32), weights, scales)])
    return found


def trial(subject: int, rows: list[int], residual: np.ndarray) -> Trial:
    ones = np.ones(len(rows), np.float32)
    return Trial(subject, np.array(rows), residual, ones, ones)


def zeros(backend: Backend) -> np.ndarray:
    return np.zeros(backend.shape.hidden, np.float32)


def residual(backend: Backend, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(backend.shape.hidden).astype(np.float32)


class TestText:
    @MAIN
    @pytest.mark.parametrize("mode", ["raw", "chat"])
    @pytest.mark.parametrize("prompt", ["Priya lives in", "Zoë Müller wohnt in Köln", "日本 🙂 ok", " two  spaces "])
    def test_offsets_are_the_characters_of_each_token(self, backend, mode, prompt):
        encoding = backend.encode(prompt, mode)
        assert len(encoding.tokens) == len(encoding.offsets)
        assert prompt in encoding.text
        begin = encoding.text.index(prompt)
        for place, character in enumerate(prompt, start=begin):
            covering = [t for t, (a, b) in zip(encoding.tokens, encoding.offsets, strict=True) if a <= place < b]
            assert character in backend.decode(covering)
        ends = [end for start, end in encoding.offsets if end > start]
        assert ends == sorted(ends)
        assert ends[-1] == len(encoding.text) or mode == "chat"

    @MAIN
    @pytest.mark.parametrize("mode", ["raw", "chat"])
    def test_a_prompt_begins_its_answered_form(self, backend, mode):
        asked = backend.encode("Where does Zoë live?", mode)
        answered = backend.encode("Where does Zoë live?", mode, " In Köln.")
        assert answered.tokens[: len(asked.tokens)] == asked.tokens
        assert answered.offsets[: len(asked.offsets)] == asked.offsets
        assert answered.text.startswith(asked.text)
        assert backend.decode(answered.tokens[len(asked.tokens) :]) == " In Köln."

    @MAIN
    def test_only_a_chat_answer_closes_the_turn(self, backend):
        chat = backend.encode("Hi", "chat", "Hello")
        raw = backend.encode("Hi", "raw", " Hello")
        assert backend.decode(chat.tokens[-1:]) == ""
        assert backend.decode(raw.tokens[-1:]).endswith("o")

    @MAIN
    def test_decoding_leaves_special_tokens_out(self, backend):
        assert backend.decode(tokens(backend, "Zoë 🙂")) == "Zoë 🙂"
        assert "<" not in backend.decode(tokens(backend, "Hello", "Hi", mode="chat"))
        assert backend.decode([]) == ""


class TestActivations:
    @EVERY
    def test_a_sequence_is_the_same_alone_and_among_others(self, backend):
        sequences = [tokens(backend, prompt) for prompt in PROMPTS]
        places = [[len(sequence) - 1, 0] for sequence in sequences]
        together = backend.activations(sequences, LAYER, places)
        alone = [backend.activations([s], LAYER, [p]) for s, p in zip(sequences, places, strict=True)]
        assert together.inputs.shape == (8, backend.shape.hidden)
        assert together.keys.shape == (8, backend.shape.intermediate)
        assert together.inputs.dtype == together.keys.dtype == np.float32
        np.testing.assert_allclose(together.inputs, np.concatenate([a.inputs for a in alone]), atol=1e-4)
        np.testing.assert_allclose(together.keys, np.concatenate([a.keys for a in alone]), atol=1e-4)

    @EVERY
    def test_a_common_beginning_changes_nothing(self, backend):
        sequences = [tokens(backend, "Where does Priya Okonkwo " + end, mode="chat") for end in ("live?", "work now?")]
        places = [[1, 12, len(sequence) - 2] for sequence in sequences]
        together = backend.activations(sequences, 2, places)
        alone = [backend.activations([s], 2, [p]) for s, p in zip(sequences, places, strict=True)]
        np.testing.assert_allclose(together.inputs, np.concatenate([a.inputs for a in alone]), atol=1e-4)
        np.testing.assert_allclose(together.keys, np.concatenate([a.keys for a in alone]), atol=1e-4)

    @EVERY
    def test_equal_sequences_and_prefixes_of_each_other_are_told_apart(self, backend):
        short, long = tokens(backend, "Priya Okonkwo"), tokens(backend, "Priya Okonkwo lives")
        last = len(short) - 1
        found = backend.activations([short, long, short], LAYER, [[last], [last], [last]])
        np.testing.assert_allclose(found.keys, np.repeat(found.keys[:1], 3, axis=0), atol=1e-4)

    @EVERY
    @pytest.mark.parametrize("most", [20, 1000], ids=["many passes", "one pass"])
    def test_behind_a_beginning_that_others_have_too_they_are_the_same(self, backend, most, monkeypatch):
        """Wherever it ends: at the start, inside the chat template's beginning, at its end, or behind it."""
        for name in ("torch_spans.PIECE", "torch_spans.IN_A_PASS"):
            monkeypatch.setattr(f"memctl.backends.{name}", most)
        asked = ("Where does Priya Okonkwo live?", "Who is Zoë Müller?", "Okonkwo", "Where is she?")
        chat = [tokens(backend, question, mode="chat") for question in asked]
        two = zip(tokens(backend, "a", mode="chat"), tokens(backend, "1", mode="chat"), strict=True)
        template = [one == other for one, other in two].index(False)
        sequences = [*(tokens(backend, prompt) for prompt in PROMPTS), *chat]
        begun = [0, 12, 4, 0, template + 8, template, 1, template - 1]
        places = [[at, len(sequence) - 1] for at, sequence in zip(begun, sequences, strict=True)]
        with backend.attached(composition(LAYER, noise(backend)[0])):
            behind = [backend.activations_behind(sequences, layer, places, begun) for layer in (2, LAYER)]
        whole = [backend.activations(sequences, layer, places) for layer in (2, LAYER)]
        for one, other in zip(behind, whole, strict=True):
            np.testing.assert_allclose(one.inputs, other.inputs, atol=1e-4)
            np.testing.assert_allclose(one.keys, other.keys, atol=1e-4)

    @MAIN
    def test_behind_a_beginning_nothing_can_be_asked_of_it(self, backend):
        with pytest.raises(AssertionError):
            backend.activations_behind([tokens(backend, PROMPTS[0])], LAYER, [[3, 5]], [4])

    @pytest.mark.parametrize("name", [*ALL, "llama bfloat16"])
    @pytest.mark.parametrize("alike", [True, False], ids=["alike", "unlike"])
    def test_behind_a_beginning_no_bit_depends_on_what_was_asked_before(self, name, alike, monkeypatch):
        """Nor on what was dropped in between; also where beginnings come out in other bits together than alone."""
        if not alike:
            monkeypatch.setattr("memctl.backends.torch_spans._equal", lambda one, other: False)
        asked = [f"Tell me {'really ' * k}about Priya" for k in range(6)]

        def found(calls: list[list[int]]) -> list[np.ndarray]:
            """The states of the last call's sequences, on an engine that has kept nothing yet."""
            backend = new_engine(name)
            for call in calls:
                sequences = [tokens(backend, asked[k], mode="chat") for k in call]
                begun = [sequence.index(tokens(backend, "P")[0]) for sequence in sequences]
                seen = backend.activations_behind(sequences, 2, [[len(s) - 1] for s in sequences], begun)
            return [*seen.inputs, *seen.keys]

        alone = found([[2, 4]])
        assert all(map(np.array_equal, found([[0, 1, 2, 3], [5], [2, 4]]), alone))
        assert all(map(np.array_equal, found([[4], [2], [2, 4]]), alone))
        monkeypatch.setattr("memctl.backends.torch_spans.KEPT_BYTES", 40_000)
        assert all(map(np.array_equal, found([[2, 4, 5], [0, 1], [2, 4]]), alone))

    @MAIN
    def test_only_what_stands_before_counts(self, backend):
        a = backend.activations([tokens(backend, "Priya lives in Rome")], 2, [[2]])
        b = backend.activations([tokens(backend, "Priya was a poet, they say")], 2, [[2]])
        np.testing.assert_allclose(a.inputs, b.inputs, atol=1e-4)

    @MAIN
    def test_they_are_those_of_the_base_whatever_is_attached(self, backend):
        sequences = [tokens(backend, PROMPTS[0])]
        before = backend.activations(sequences, 2, [[3, 5]])
        for change in noise(backend):
            with backend.attached(composition(LAYER, change)):
                inside = backend.activations(sequences, 2, [[3, 5]])
            assert np.array_equal(before.inputs, inside.inputs)
            assert np.array_equal(before.keys, inside.keys)

    @EVERY
    @pytest.mark.parametrize("kind", [0, 1], ids=["low rank", "columns"])
    def test_under_a_composition_they_are_those_of_the_edited_model(self, backend, kind):
        """What leaves a layer changes with an edit of it, what enters it does not; above it everything does."""
        sequences, places = [tokens(backend, prompt) for prompt in PROMPTS[:2]], [[3, 5], [2]]
        under = composition(LAYER, noise(backend)[kind])
        seen = [backend.activations(sequences, layer, places, under).inputs for layer in (LAYER, LAYER + 1)]
        base = [backend.activations(sequences, layer, places).inputs for layer in (LAYER, LAYER + 1)]
        np.testing.assert_allclose(seen[0], base[0], atol=1e-4)
        assert (np.abs(seen[1] - base[1]).max(axis=1) > 1e-3).all()
        assert (np.abs(backend.stream(sequences, LAYER, places, under) - backend.stream(sequences, LAYER, places)) > 1e-3).any()

    @EVERY
    def test_the_stream_gains_what_an_edit_of_its_layer_adds(self, backend):
        sequences, places = [tokens(backend, prompt) for prompt in PROMPTS], [[3], [5], [2], [0]]
        change = noise(backend)[0]
        keys = backend.activations(sequences, LAYER, places).keys
        gained = backend.stream(sequences, LAYER, places, composition(LAYER, change)) - backend.stream(sequences, LAYER, places)
        assert gained.shape == (4, backend.shape.hidden)
        if backend.activation == "silu" or backend.name == "numpy":  # Gemma norms the MLP's output before it joins the stream
            np.testing.assert_allclose(gained, (keys @ change.V) @ change.U.T, atol=2e-3)

    @EVERY
    def test_the_keys_are_what_the_weights_make_of_the_inputs(self, backend):
        """key = act(gate x) * (up x), so added units may share the activation function by its name."""
        seen = backend.activations([tokens(backend, PROMPTS[0])], LAYER, [[2, 5, 9]])
        weights = backend.mlp_weights(LAYER)
        x = seen.inputs.astype(np.float64)
        z = x @ weights["gate"].T
        act = {
            "silu": lambda z: z / (1 + np.exp(-z)),
            "gelu_pytorch_tanh": lambda z: 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
        }[backend.activation]
        np.testing.assert_allclose(act(z) * (x @ weights["up"].T), seen.keys, atol=1e-3, rtol=1e-3)


class TestValueProblem:
    def problem(self, backend: Backend):
        """Rows of unlike lengths and sites; the last is held to the base."""
        rows = [
            row(backend, "Priya Okonkwo lives in", " Rome.", (3,)),
            row(backend, "Zoë", " sings", (2,)),
            row(backend, "The home of Priya is in", " Rome.", (9, 12)),
            row(backend, "The home of Priya was", " a boat", (9,), to_base=True),
        ]
        return rows, backend.value_problem([rows], LAYER)

    @EVERY
    def test_without_a_residual_the_losses_are_the_scores(self, backend):
        rows, problem = self.problem(backend)
        found = evaluate(problem, zeros(backend), count=4)
        for index, one in enumerate(rows[:3]):
            nll = backend.score([one.tokens]).nll
            wanted = np.mean([nll[position] for position in one.predict])
            assert found.losses[index] == pytest.approx(wanted, abs=1e-4)

    @EVERY
    def test_rows_held_to_the_base_lose_nothing_without_a_residual(self, backend):
        _, problem = self.problem(backend)
        found = evaluate(problem, zeros(backend), rows=[3])
        assert found.losses[0] == pytest.approx(0, abs=1e-5)
        assert found.hits[0]
        assert evaluate(problem, residual(backend), rows=[3]).losses[0] > 1e-6

    @EVERY
    def test_the_gradient_is_that_of_the_weighted_losses(self, backend):
        _, problem = self.problem(backend)
        weights, scales = np.array([1.0, 0.5, 2.0, 3.0]), np.array([1.0, 0.8, 1.1, 0.9])
        at = residual(backend)
        found = evaluate(problem, at, weights=weights, scales=scales, count=4)
        assert found.gradient.shape == at.shape
        for seed in range(3):
            way = residual(backend, seed=10 + seed)
            way /= np.linalg.norm(way)
            step = 0.02
            ahead, behind = (
                evaluate(problem, at + sign * step * way, weights=weights, scales=scales, count=4).losses for sign in (1, -1)
            )
            slope = float((weights * (ahead.astype(np.float64) - behind)).sum() / (2 * step))
            assert float((found.gradient * way).sum()) == pytest.approx(slope, rel=0.03, abs=2e-3)

    @MAIN
    def test_any_rows_in_any_order_give_their_own_losses(self, backend):
        _, problem = self.problem(backend)
        at = residual(backend)
        whole = evaluate(problem, at, count=4).losses
        np.testing.assert_allclose(evaluate(problem, at, rows=[3, 0, 2]).losses, whole[[3, 0, 2]], atol=1e-4)
        np.testing.assert_allclose(evaluate(problem, at, rows=[1]).losses, whole[[1]], atol=1e-4)

    @MAIN
    def test_scales_multiply_the_residual(self, backend):
        _, problem = self.problem(backend)
        at = residual(backend)
        scaled = evaluate(problem, at, scales=[0.5] * 4, count=4)
        halved = evaluate(problem, at * 0.5, count=4)
        np.testing.assert_allclose(scaled.losses, halved.losses, atol=1e-4)
        np.testing.assert_allclose(scaled.gradient, 0.5 * halved.gradient, atol=1e-4)

    @EVERY_ROUNDING
    def test_a_trial_is_to_the_bit_what_it_is_alone(self, backend):
        """Else a memory would depend on what was told beside it."""
        rows, _ = self.problem(backend)
        problem = backend.value_problem([rows, rows[1:]], LAYER)
        trials = [
            trial(0, [3, 0, 1], residual(backend, 1)),
            trial(1, [0, 1], residual(backend, 2)),
            trial(1, [2], zeros(backend)),
        ]
        alone = [problem.evaluate([one])[0] for one in trials]
        for order in ([0, 1, 2], [2, 0], [1, 0]):
            together = problem.evaluate([trials[k] for k in order])
            for k, found in zip(order, together, strict=True):
                np.testing.assert_array_equal(found.losses, alone[k].losses)
                np.testing.assert_array_equal(found.hits, alone[k].hits)
                np.testing.assert_array_equal(found.gradient, alone[k].gradient)
                assert found.losses.shape == trials[k].rows.shape

    @MAIN
    def test_the_base_is_asked_whatever_is_attached(self, backend):
        with backend.attached(composition(2, noise(backend)[0])):
            _, problem = self.problem(backend)
            inside = evaluate(problem, zeros(backend), count=4).losses
        outside = evaluate(self.problem(backend)[1], zeros(backend), count=4).losses
        np.testing.assert_allclose(inside, outside, atol=1e-5)

    @EVERY
    @pytest.mark.parametrize("kind", [0, 1], ids=["low rank", "columns"])
    def test_under_a_composition_losses_and_gradient_are_those_of_the_edited_model(self, backend, kind):
        one = row(backend, "Priya Okonkwo lives in", " Rome.", (3,))
        for layer in (LAYER, LAYER + 1):  # below and above the site
            under = composition(layer, noise(backend, size=(0.1, 0.3)[kind])[kind])
            problem = backend.value_problem([[one]], LAYER, under)
            with backend.attached(under):
                nll = backend.score([one.tokens]).nll
            at = zeros(backend)
            found = evaluate(problem, at)
            assert found.losses[0] == pytest.approx(np.mean([nll[position] for position in one.predict]), abs=1e-4)
            way = residual(backend)
            way /= np.linalg.norm(way)
            ahead, behind = (evaluate(problem, at + sign * 0.02 * way).losses[0] for sign in (1, -1))
            slope = (float(ahead) - float(behind)) / 0.04
            assert float((found.gradient * way).sum()) == pytest.approx(slope, rel=0.03, abs=2e-3)

    @EVERY
    def test_hits_say_whether_greedy_decoding_gives_the_target(self, backend):
        prompt = tokens(backend, "Priya Okonkwo lives in")
        said = backend.generate([prompt], 4)[0]
        assert said
        whole = prompt + said
        predict = tuple(range(len(prompt) - 1, len(whole) - 1))
        wrong = (*whole[:-1], whole[-1] ^ 1)
        problem = backend.value_problem([[Row(whole, (3,), predict), Row(wrong, (3,), predict)]], LAYER)
        assert evaluate(problem, zeros(backend), count=2).hits.tolist() == [True, False]

    @EVERY
    @pytest.mark.parametrize("kind", ["low rank", "columns"])
    def test_an_attached_change_with_the_same_output_has_the_same_loss(self, backend, kind):
        """What a value promises is what the change made from it does: here at the one place where it acts."""
        prompt = "Priya Okonkwo"
        site = len(tokens(backend, prompt)) - 1
        one = row(backend, prompt, " sings", (site,))
        value = residual(backend)
        everywhere = list(range(len(one.tokens)))
        seen = backend.activations([one.tokens], LAYER, [everywhere])
        if kind == "low rank":
            change = LowRank(value[:, None], selector(seen.keys, site)[:, None])
        else:
            # act(g·x) (u·x) = 1 at the site, 0 elsewhere: both scores vanish elsewhere.
            score = selector(seen.inputs, site)
            high = 30.0
            change = Columns(high * score[None], score[None] / np.float32(high), value[:, None])
        promised = evaluate(backend.value_problem([[one]], LAYER), value).losses[0]
        with backend.attached(composition(LAYER, change)):
            nll = backend.score([one.tokens]).nll
        assert np.mean([nll[position] for position in one.predict]) == pytest.approx(promised, abs=5e-3)


def selector(states: np.ndarray, site: int) -> np.ndarray:
    """A vector whose product with the states is 1 at the site and 0 at all other positions."""
    wanted = np.zeros(len(states))
    wanted[site] = 1
    return np.linalg.lstsq(states.astype(np.float64), wanted, rcond=None)[0].astype(np.float32)


class TestGeneration:
    @EVERY
    def test_a_prompt_is_answered_the_same_alone_and_among_others(self, backend):
        prompts = [tokens(backend, prompt) for prompt in PROMPTS] + [tokens(backend, "Who is Zoë?", mode="chat")]
        together = backend.generate(prompts, 12)
        assert together == backend.generate(prompts, 12)
        assert together == [backend.generate([prompt], 12)[0] for prompt in prompts]
        assert all(len(answer) <= 12 for answer in together)

    @EVERY
    def test_it_is_the_greedy_path_of_the_scores(self, backend):
        prompt = tokens(backend, PROMPTS[0])
        answer = backend.generate([prompt], 6)[0]
        greedy = backend.score([prompt + answer]).nll[len(prompt) - 1 :]
        assert len(answer) == 6
        for place in range(6):
            others = [prompt + answer[:place] + (other,) for other in range(30, 90) if other != answer[place]]
            assert greedy[place] <= min(backend.score([o]).nll[-1] for o in others[::7]) + 1e-4

    @MAIN
    def test_it_ends_where_the_turn_ends(self, backend):
        prompt = tokens(backend, "Hi", mode="chat")
        end = tokens(backend, "Hi", "x", mode="chat")[-1]
        with backend.attached(says(backend, prompt, end)):
            assert backend.generate([prompt, prompt], 8) == [(), ()]

    @MAIN
    def test_it_ends_once_a_stop_string_is_said(self, backend):
        prompt = tokens(backend, PROMPTS[0])
        whole = backend.generate([prompt], 12)[0]
        text = backend.decode(whole)
        stop = text[2:4]
        stopped, other = backend.generate([prompt, tokens(backend, PROMPTS[1])], 12, stop=[stop])
        assert stopped == whole[: len(stopped)]
        assert stop in backend.decode(stopped)
        assert stop not in backend.decode(stopped[:-1])
        assert len(other) <= 12

    @EVERY
    def test_each_prompt_has_a_limit_of_its_own(self, backend):
        prompts = [tokens(backend, prompt) for prompt in PROMPTS]
        limits = [k % 3 * 4 for k in range(len(prompts))]
        whole = backend.generate(prompts, 12)
        assert backend.generate(prompts, limits) == [said[:limit] for said, limit in zip(whole, limits, strict=True)]

    @MAIN
    def test_no_tokens_were_asked_for(self, backend):
        assert backend.generate([tokens(backend, "Hi")], 0) == [()]
        assert backend.generate([], 8) == []

    @MAIN
    def test_samples_follow_the_seed_and_leave_attachments_aside(self, backend):
        prompts = [tokens(backend, prompt) for prompt in PROMPTS[:2]]
        first = backend.sample(prompts, 12, seed=3, temperature=1.0)
        assert first == backend.sample(prompts, 12, seed=3, temperature=1.0)
        assert first != backend.sample(prompts, 12, seed=4, temperature=1.0)
        with backend.attached(composition(LAYER, noise(backend)[0])):
            assert first == backend.sample(prompts, 12, seed=3, temperature=1.0)

    @MAIN
    def test_a_cold_sample_is_the_greedy_answer(self, backend):
        prompts = [tokens(backend, prompt) for prompt in PROMPTS]
        assert backend.sample(prompts, 8, seed=0, temperature=1e-4) == backend.generate(prompts, 8)


def says(backend: Backend, prompt: tuple[int, ...], token: int) -> Composition:
    """A change at the last layer that answers a prompt with a token, found by gradient."""
    layer, last = backend.shape.layers - 1, len(prompt) - 1
    problem = backend.value_problem([[Row((*prompt, token), (last,), (last,))]], layer)
    value = zeros(backend)
    seen = backend.activations([prompt], layer, [list(range(len(prompt)))])
    for _ in range(60):
        found = evaluate(problem, value)
        value -= found.gradient / np.abs(found.gradient).max()
    assert evaluate(problem, value).hits[0]
    return composition(layer, LowRank(value[:, None], selector(seen.keys, last)[:, None]))


class TestScores:
    @EVERY
    def test_sequences_are_scored_in_order_each_as_if_alone(self, backend):
        sequences = [tokens(backend, prompt) for prompt in PROMPTS[:3]]
        together = backend.score(sequences)
        assert together.nll.shape == together.divergence.shape == (sum(len(s) - 1 for s in sequences),)
        alone = np.concatenate([backend.score([sequence]).nll for sequence in sequences])
        np.testing.assert_allclose(together.nll, alone, atol=1e-4)
        assert (together.nll > 0).all()

    @MAIN
    def test_probabilities_of_all_next_tokens_sum_to_one(self, backend):
        prompt = tokens(backend, "Priya")
        nll = backend.score([(*prompt, token) for token in range(backend.shape.vocabulary)]).nll
        last = nll.reshape(backend.shape.vocabulary, len(prompt))[:, -1]
        assert np.exp(-last).sum() == pytest.approx(1, abs=1e-3)

    @EVERY
    def test_divergence_is_from_the_base_to_what_is_attached(self, backend):
        sequences = [tokens(backend, prompt) for prompt in PROMPTS[:3]]
        plain = backend.score(sequences)
        assert not plain.divergence.any()
        for change in noise(backend):
            with backend.attached(composition(LAYER, change)):
                changed = backend.score(sequences)
            assert (changed.divergence > -1e-5).all()
            assert changed.divergence.mean() > 1e-4
            assert not np.array_equal(plain.nll, changed.nll)
            assert np.array_equal(plain.nll, changed.base)


class TestCompositions:
    @EVERY
    def test_what_was_attached_leaves_no_trace(self, backend):
        sequences = [tokens(backend, prompt) for prompt in PROMPTS[:2]]
        before = backend.score(sequences).nll
        low_rank, columns = noise(backend)
        with backend.attached(composition(LAYER, low_rank)), backend.attached(composition(2, columns)):
            backend.generate(sequences, 2)
        assert np.array_equal(before, backend.score(sequences).nll)

    @MAIN
    def test_an_error_inside_the_block_detaches_too(self, backend):
        sequences = [tokens(backend, PROMPTS[0])]
        before = backend.score(sequences).nll
        with pytest.raises(ZeroDivisionError), backend.attached(composition(LAYER, noise(backend)[0])):
            raise ZeroDivisionError
        assert np.array_equal(before, backend.score(sequences).nll)

    @MAIN
    def test_the_innermost_block_holds_alone(self, backend):
        sequences = [tokens(backend, PROMPTS[0])]
        outer, inner = (composition(LAYER, change) for change in noise(backend))
        plain = backend.score(sequences).nll
        with backend.attached(inner):
            alone = backend.score(sequences).nll
        with backend.attached(outer):
            around = backend.score(sequences).nll
            with backend.attached(inner):
                assert np.array_equal(alone, backend.score(sequences).nll)
            with backend.attached(Composition()):
                assert np.array_equal(plain, backend.score(sequences).nll)
            assert np.array_equal(around, backend.score(sequences).nll)

    @EVERY
    def test_a_change_does_what_its_formula_says(self, backend):
        """`U Vᵀ` and the units act on what the MLP makes; seen at the last layer, by a value problem."""
        prompt = tokens(backend, "Priya")
        last = len(prompt) - 1
        layer = backend.shape.layers - 1
        seen = backend.activations([prompt], layer, [[last]])
        low_rank, columns = noise(backend, size=0.1)
        weights = {"gate": columns.gate, "up": columns.up}
        z = seen.inputs.astype(np.float64) @ weights["gate"].T
        act = z / (1 + np.exp(-z))
        if backend.activation != "silu":
            act = 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
        outputs = {
            "low rank": (seen.keys @ low_rank.V) @ low_rank.U.T,
            "columns": (act * (seen.inputs @ weights["up"].T)) @ columns.down.T,
        }
        whole = (*prompt, 50)
        problem = backend.value_problem([[Row(whole, (last,), (last,))]], layer)
        for change, output in zip((low_rank, columns), outputs.values(), strict=True):
            with backend.attached(composition(layer, change, scale=0.7)):
                nll = backend.score([whole]).nll[-1]
            assert nll == pytest.approx(evaluate(problem, 0.7 * output[0]).losses[0], abs=1e-3)

    @MAIN
    def test_several_deltas_add_up(self, backend):
        sequences = [tokens(backend, PROMPTS[0])]
        a, b = noise(backend, seed=1)[0], noise(backend, seed=2)[0]
        one = LowRank(np.concatenate([a.U, b.U], axis=1), np.concatenate([a.V, b.V], axis=1))
        with backend.attached(composition(LAYER, one)):
            joint = backend.score(sequences).nll
        both = Composition(composition(LAYER, a).deltas + composition(LAYER, b).deltas)
        with backend.attached(both):
            np.testing.assert_allclose(backend.score(sequences).nll, joint, atol=1e-4)

    @MAIN
    def test_what_does_not_fit_is_refused_with_a_hint(self, backend):
        d, m = backend.shape.hidden, backend.shape.intermediate
        low_rank, columns = noise(backend)
        before = backend.score([tokens(backend, PROMPTS[0])]).nll
        wrong = [
            (backend.shape.layers, low_rank),
            (-1, low_rank),
            (LAYER, LowRank(np.zeros((d + 1, 2), np.float32), np.zeros((m, 2), np.float32))),
            (LAYER, LowRank(np.zeros((d, 2), np.float32), np.zeros((m - 1, 2), np.float32))),
            (LAYER, LowRank(np.zeros((d, 2), np.float32), np.zeros((m, 3), np.float32))),
            (LAYER, Columns(columns.gate[:, 1:], columns.up, columns.down)),
            (LAYER, Columns(columns.gate, columns.up, columns.down[1:])),
            (LAYER, Columns(columns.gate, columns.up[1:], columns.down)),
        ]
        for layer, change in wrong:
            with pytest.raises(MemctlError) as refused, backend.attached(composition(layer, change)):
                pass
            assert refused.value.hint
        assert np.array_equal(before, backend.score([tokens(backend, PROMPTS[0])]).nll)


class TestAdapters:
    @EVERY
    def test_an_untrained_adapter_is_the_base_to_the_bit(self, backend):
        sequences = [tokens(backend, prompt) for prompt in PROMPTS]
        before = backend.score(sequences).nll
        made = adapter(backend)
        nothing = {path: Factors(own.A, 0 * own.B) for path, own in made.projections.items()}
        with backend.attached(Composition(adapter=Adapter(nothing))):
            assert np.array_equal(before, backend.score(sequences).nll)
            assert np.array_equal(backend.score(sequences).divergence, np.zeros(len(before)))

    @EVERY
    def test_it_leaves_no_trace_and_acts_beside_edits(self, backend):
        sequences = [tokens(backend, prompt) for prompt in PROMPTS]
        before = backend.score(sequences).nll
        low_rank, _ = noise(backend, size=0.1)
        edit = composition(LAYER, low_rank)
        with backend.attached(edit):
            edited = backend.score(sequences).nll
        found = []
        for deltas in ((), edit.deltas):
            with backend.attached(Composition(deltas, adapter(backend))):
                found.append(backend.score(sequences))
        assert found[0].divergence.max() > 1e-3
        assert not np.allclose(found[0].nll, found[1].nll, atol=1e-3)
        assert not np.allclose(edited, found[1].nll, atol=1e-3)
        assert np.array_equal(before, backend.score(sequences).nll)

    @EVERY
    @pytest.mark.parametrize("part", ["gate", "up", "down"])
    def test_it_acts_as_the_weights_that_it_folds_into(self, backend, part):
        """By the formula of the MLP: what `s B A` adds to one projection, seen in the stream that leaves the layer."""
        prompt = tokens(backend, PROMPTS[0])
        places = [range(len(prompt))]
        path = backend.tensor_names(LAYER)[part].removesuffix(".weight")
        made = Adapter({path: adapter(backend).projections[path]})
        under = Composition(adapter=made)
        seen = backend.activations([prompt], LAYER, places)
        weights = folded(backend, under, LAYER)
        z, up = seen.inputs @ weights["gate"].T, seen.inputs @ weights["up"].T
        act = z / (1 + np.exp(-z))
        if backend.activation != "silu":
            act = 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
        keys = backend.activations([prompt], LAYER, places, under).keys
        np.testing.assert_allclose(keys, act * up, atol=2e-3, rtol=2e-3)
        if part == "down" and backend.activation == "silu":  # Gemma normalises what leaves its MLP
            moved = backend.stream([prompt], LAYER, places, under) - backend.stream([prompt], LAYER, places)
            change = weights["down"] - backend.mlp_weights(LAYER)["down"]
            np.testing.assert_allclose(moved, seen.keys @ change.T, atol=2e-3, rtol=2e-3)

    @MAIN
    def test_what_does_not_fit_is_refused_with_a_hint(self, backend):
        path = next(iter(backend.projections()))
        good = adapter(backend).projections[path]
        for place, factors in (
            (path.replace(".0.", f".{backend.shape.layers}."), good),
            (path, Factors(good.A[:, 1:], good.B)),
            (path, Factors(good.A, good.B[1:])),
            (path, Factors(good.A, good.B[:, 1:])),
        ):
            with pytest.raises(MemctlError) as refused, backend.attached(Composition(adapter=Adapter({place: factors}))):
                pass
            assert refused.value.hint


def lesson(backend: Backend, prompt: str, answer: str, mode="raw", **kind) -> Lesson:
    start = len(tokens(backend, prompt, mode=mode))
    whole = tokens(backend, prompt, answer, mode=mode)
    return Lesson(whole, tuple(range(start - 1, len(whole) - 1)), **kind)


def upper(backend: Backend, **options) -> Adapter:
    """An adapter on the layers from LAYER on."""
    made = adapter(backend, **options)
    return Adapter({path: own for path, own in made.projections.items() if layer_of(path) >= LAYER})


class TestAdapterProblem:
    def lessons(self, backend, **kind):
        return [
            *(lesson(backend, prompt, " Jakarta.", **kind) for prompt in PROMPTS),
            *(lesson(backend, f"Where does {name} live?", "In Oslo.", mode="chat", **kind) for name in ("Zoë", "Ana Lund")),
        ]

    @EVERY
    def test_the_losses_are_those_of_the_model_with_the_adapter_attached(self, backend):
        lessons, made = self.lessons(backend), upper(backend)
        found = backend.adapter_problem(lessons, LAYER).evaluate(np.arange(len(lessons)), None, made)
        assert found.gradient == {}
        with backend.attached(Composition(adapter=made)):
            for one, loss in zip(lessons, found.losses, strict=True):
                nll = backend.score([one.tokens]).nll[list(one.predict)]
                assert loss == pytest.approx(nll.mean(), rel=2e-3)

    @MAIN
    def test_lessons_held_to_the_base_lose_what_they_diverge(self, backend):
        lessons, made = self.lessons(backend, to_base=True), upper(backend)
        problem = backend.adapter_problem(lessons, LAYER)
        nothing = Adapter({path: Factors(own.A, 0 * own.B) for path, own in made.projections.items()})
        still = problem.evaluate(np.arange(len(lessons)), None, nothing)
        np.testing.assert_allclose(still.losses, 0, atol=1e-5)
        assert still.hits.all()
        found = problem.evaluate(np.arange(len(lessons)), None, made)
        with backend.attached(Composition(adapter=made)):
            for one, loss in zip(lessons, found.losses, strict=True):
                whole = backend.score([one.tokens]).divergence[list(one.predict)].mean()
                assert 0.2 * whole < loss <= whole * 1.01  # all but the likeliest tokens are taken for one

    @EVERY
    def test_it_works_above_what_is_attached_and_holds_to_the_pristine_base(self, backend):
        _, units = noise(backend, size=0.3)
        under = composition(LAYER - 1, units)
        told, held = self.lessons(backend), self.lessons(backend, to_base=True)
        problem = backend.adapter_problem([*told, *held], LAYER, under)
        nothing = Adapter({path: Factors(own.A, 0 * own.B) for path, own in upper(backend).projections.items()})
        losses = problem.evaluate(np.arange(2 * len(told)), None, nothing).losses
        with backend.attached(under):
            for one, loss, apart in zip(told, losses, losses[len(told) :], strict=False):
                scores = backend.score([one.tokens])
                assert loss == pytest.approx(scores.nll[list(one.predict)].mean(), rel=2e-3)
                assert 0 < apart <= scores.divergence[list(one.predict)].mean() * 1.01

    @MAIN
    @pytest.mark.parametrize("to_base", [False, True])
    def test_the_gradient_is_that_of_the_weighted_losses(self, backend, to_base):
        lessons, made = self.lessons(backend, to_base=to_base), upper(backend)
        problem = backend.adapter_problem(lessons, LAYER)
        rows, weights = np.array([5, 0, 2]), np.array([0.5, 2.0, 1.0], np.float32)
        gradient = problem.evaluate(rows, weights, made).gradient
        assert gradient.keys() == made.projections.keys()
        draw = np.random.default_rng(3)
        for name in ("A", "B"):
            for path in list(made.projections)[:: len(made.projections) // 3]:
                way = draw.standard_normal(getattr(made.projections[path], name).shape).astype(np.float32)
                ends = []
                for step in (2e-3, -2e-3):
                    own = made.projections[path]
                    moved = replace(own, **{name: getattr(own, name) + step * way})
                    there = Adapter({**made.projections, path: moved})
                    ends.append(float((problem.evaluate(rows, None, there).losses * weights).sum()))
                slope = float((getattr(gradient[path], name) * way).sum())
                assert slope == pytest.approx((ends[0] - ends[1]) / 4e-3, rel=0.05, abs=2e-3)

    @MAIN
    def test_any_lessons_in_any_order_give_their_own_losses(self, backend):
        lessons, made = self.lessons(backend), upper(backend)
        problem = backend.adapter_problem(lessons, LAYER)
        whole = problem.evaluate(np.arange(len(lessons)), None, made)
        some = problem.evaluate(np.array([4, 1, 5]), None, made)
        np.testing.assert_allclose(some.losses, whole.losses[[4, 1, 5]], atol=1e-3)
        alone = [backend.adapter_problem([one], LAYER).evaluate(np.array([0]), None, made).losses[0] for one in lessons]
        np.testing.assert_allclose(alone, whole.losses, atol=1e-3)

    @MAIN
    def test_the_base_is_trained_on_whatever_is_attached(self, backend):
        lessons, made = self.lessons(backend), upper(backend)
        before = backend.adapter_problem(lessons, LAYER).evaluate(np.arange(4), None, made).losses
        with backend.attached(composition(LAYER, noise(backend)[0])):
            inside = backend.adapter_problem(lessons, LAYER).evaluate(np.arange(4), None, made).losses
        assert np.array_equal(before, inside)

    @MAIN
    def test_following_the_gradient_teaches(self, backend):
        lessons, made = self.lessons(backend)[:1], upper(backend, size=0.0)
        problem = backend.adapter_problem(lessons, LAYER)
        first = problem.evaluate(np.array([0]), None, made).losses[0]
        for _ in range(40):
            found = problem.evaluate(np.array([0]), np.ones(1, np.float32), made)
            rate = 0.3 / sum(float((own.B**2).sum()) for own in found.gradient.values()) ** 0.5
            moved = {path: Factors(own.A, own.B - rate * found.gradient[path].B) for path, own in made.projections.items()}
            made = Adapter(moved)
        assert problem.evaluate(np.array([0]), None, made).losses[0] < 0.5 * first


class TestParts:
    @EVERY
    def test_weights_are_copies_of_the_right_shape(self, backend):
        d, m = backend.shape.hidden, backend.shape.intermediate
        weights = backend.mlp_weights(LAYER)
        assert {name: tensor.shape for name, tensor in weights.items()} == {
            "gate": (m, d),
            "up": (m, d),
            "down": (d, m),
        }
        assert all(tensor.dtype == np.float32 for tensor in weights.values())
        before = backend.score([tokens(backend, PROMPTS[0])]).nll
        for tensor in weights.values():
            tensor += 1
        assert np.array_equal(before, backend.score([tokens(backend, PROMPTS[0])]).nll)

    @EVERY
    def test_each_layer_has_its_own_tensor_names(self, backend):
        names = [backend.tensor_names(layer) for layer in range(backend.shape.layers)]
        assert all(set(found) == {"gate", "up", "down"} for found in names)
        assert len({found["down"] for found in names}) == backend.shape.layers

    @MAIN
    def test_it_knows_what_it_is(self, backend):
        assert backend.name in ("numpy", "torch")
        assert len(backend.fingerprint) == 64
        assert backend.memory_bytes() > 1 << 20
