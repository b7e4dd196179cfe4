"""Parts of many sequences in one pass of a torch model, each behind what stands before it and was run earlier.

Each token attends to its own sequence alone. Of a padded batch of texts this short and this unequal, half would be padding
and beginnings.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import DynamicCache

from memctl.backends.protocol import Tokens
from memctl.backends.torch_layers import Attended, KeyValues, attention_in_parts, eager_attention, key_values_of, with_cache
from memctl.backends.torch_shared import SharedPasses

ROWS_AT_ONCE = 16
"""Spans whose attention is one computation: in it, each token meets those of all."""

LEAST = 16
"""Rows of a product that rounds as larger ones do: those of under 12 are summed in other orders in float32."""

KEPT_BYTES = 128 * 2**20
"""Of beginnings, while the model is there: 11,000 tokens of one of 135M parameters in bfloat16, half as many in float32."""

IN_A_PASS = 1024
"""Tokens that share a pass."""

PIECE = 512
"""Tokens of such a computation behind kept beginnings, where a text may be long."""

RunUntil = Callable[[Callable[[], Any]], list[Tensor]]
"""Runs a forward pass of the model as far as it is wanted; inner states (1, T, …) that it met there."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Span:
    """Tokens of a sequence that are run, and what stands before them.

    Attributes:
        templated: Whether the chat template's beginning stands before them.
        before: Attention keys and values of the tokens between that and the first, of the layers that are run.
        first: Position of the first.
        length: How many they are.
    """

    templated: bool
    before: KeyValues
    first: int
    length: int

    @property
    def end(self) -> int:
        """Position after the last."""
        return self.first + self.length

    @property
    def tokens_before(self) -> int:
        """How many of the tokens before them are in `before`."""
        return self.before[0][0].shape[2] if self.before else 0


@dataclass(frozen=True)
class _Beginning:
    """What a sequence begins with, looked at up to a layer; the chat template's beginning is before its token `first`."""

    layer: int
    tokens: Tokens
    first: int

    @property
    def length(self) -> int:
        return len(self.tokens) - self.first


class Spans:
    """Runs spans of a model under what is attached when it is made.

    Args:
        template: What every chat text begins with: it is run once, here.
    """

    def __init__(self, model: Any, template: Tokens) -> None:
        self.model, self.template = model, template
        self.beginning: KeyValues = []
        """Of the template, in all layers."""
        if template:
            cache = DynamicCache()
            ids = torch.tensor([template], device=model.device)
            with eager_attention(model):
                model.base_model(input_ids=ids, **with_cache(cache), use_cache=True)
            self.beginning = key_values_of(cache)

    def of(self, tokens: Tokens, before: int) -> Span:
        """All of a sequence but the chat template's beginning, if that stands before a position."""
        size = len(self.template)
        templated = bool(size) and tokens[:size] == self.template and before >= size
        first = size if templated else 0
        return Span(templated, [], first, len(tokens) - first)

    def run(self, pieces: Sequence[Sequence[Span]], layer: int = 0, **given: Any) -> Tensor:
        """(T, d) last hidden states of the spans' tokens, one after the other.

        Args:
            pieces: Spans whose attention is one computation.
            layer: The first that is run: what is before the spans is kept from it on.
            given: What the model gets besides: `input_ids` or `inputs_embeds` (1, T, …), and a cache where one is wanted.
        """
        spans = [span for piece in pieces for span in piece]
        with attention_in_parts(self.model, [self._attended(piece, layer) for piece in pieces]) as mask:
            states: Tensor = self.model.base_model(
                **({"use_cache": False} | given),
                attention_mask=mask,
                position_ids=torch.cat([self._at(span) for span in spans])[None],
            ).last_hidden_state[0]
        return states

    def _at(self, span: Span) -> Tensor:
        return torch.arange(span.first, span.end, device=self.model.device)

    def _attended(self, spans: Sequence[Span], layer: int) -> Attended:
        """What spans attend to from a layer on that are run as one sequence: what is before them, one after the other."""
        device = self.model.device
        templated = torch.tensor([span.templated for span in spans], device=device)
        pieces = [span.before for span in spans if span.before]
        begun = self.beginning[layer:] if any(span.templated for span in spans) else []
        begun = begun[: len(pieces[0])] if pieces else begun
        before = [torch.arange(span.first - span.tokens_before, span.first, device=device) for span in spans]
        shared = torch.arange(begun[0][0].shape[2] if begun else 0, device=device)
        at, row = torch.cat([self._at(span) for span in spans]), numbers([span.length for span in spans], device)
        key_at = torch.cat([shared, *before, at])
        key_of = torch.cat([torch.full_like(shared, -1), numbers([span.tokens_before for span in spans], device), row])
        mine = (key_of == row[:, None]) | ((key_of == -1) & templated[row][:, None])
        distance = at[:, None] - key_at
        layers = zip(*([begun] if begun else []), *pieces, strict=True)
        kept = [([keys for keys, _ in own], [values for _, values in own]) for own in layers]
        return Attended(len(at), layer, kept, self._masks(mine & (distance >= 0), distance))

    def _masks(self, seen: Tensor, distance: Tensor) -> Tensor | dict[str, Tensor]:
        """(1, 1, T, K + T) what is added to attention scores: one for all layers, or one for each kind that there is."""
        config = self.model.config
        kinds = set(getattr(config, "layer_types", None) or ())
        window = getattr(config, "sliding_window", None)

        def mask(allowed: Tensor) -> Tensor:
            nothing = torch.zeros(seen.shape, dtype=self.model.dtype, device=seen.device)
            return nothing.masked_fill(~allowed, torch.finfo(nothing.dtype).min)[None, None]

        near = seen if window is None else seen & (distance < window)
        if not kinds:
            return mask(near)
        if "sliding_attention" not in kinds:
            return mask(seen)
        return {kind: mask(near if kind == "sliding_attention" else seen) for kind in kinds}


class Beginnings:
    """Attention keys and values of what many sequences begin with, up to the layer that is looked at.

    What else was asked for, and when, is to change no bit of one: each has attention of its own, and passes are shared only
    as long as that makes no difference.
    """

    def __init__(self, spans: Spans) -> None:
        self.spans = spans
        self._passes = SharedPasses[_Beginning, KeyValues](_equal)
        self._bytes = 0
        self._kept: OrderedDict[_Beginning, KeyValues] = OrderedDict()

    def behind(
        self,
        sequences: Sequence[Tokens],
        positions: Sequence[Sequence[int]],
        begun: Sequence[int],
        layer: int,
        run_until: RunUntil,
    ) -> list[Tensor]:
        """The states that `run_until` meets, (n, …) each, at the positions of all sequences in order.

        Args:
            begun: For each sequence, how many tokens at its start are kept; 0 for none. No position is before them.
            layer: The highest that `run_until` runs.
        """
        rests = self._rests(sequences, begun, layer, run_until)
        found: list[list[Tensor]] = []
        for places in cut([rest.length for rest in rests], IN_A_PASS):
            lengths = [rests[k].length for k in places]
            pieces = [[rests[places[k]] for k in some] for some in cut(lengths, PIECE, ROWS_AT_ONCE)]
            ids = torch.tensor([[token for k in places for token in sequences[k][begun[k] :]]], device=self.spans.model.device)
            states = run_until(partial(self.spans.run, pieces, input_ids=ids))
            starts = accumulate(lengths[:-1], initial=0)
            at = [start - begun[k] + position for start, k in zip(starts, places, strict=True) for position in positions[k]]
            found.append([state[0, at] for state in states])
        return [torch.cat(parts) for parts in zip(*found, strict=True)]

    def _rests(self, sequences: Sequence[Tokens], begun: Sequence[int], layer: int, run_until: RunUntil) -> list[Span]:
        """Each sequence behind its first `begun` tokens."""
        wholes = [self.spans.of(tokens, before=at) for tokens, at in zip(sequences, begun, strict=True)]
        wanted = [
            _Beginning(layer, tokens[:at], whole.first) for tokens, at, whole in zip(sequences, begun, wholes, strict=True)
        ]
        found = {one: self._kept[one] for one in wanted if one in self._kept}
        missing = [one for one in dict.fromkeys(wanted) if one.length and one not in found]
        trusted = self._passes.trusted
        made = dict(zip(missing, self._made(missing, run_until), strict=True))
        if trusted and not self._passes.trusted:  # those that are kept were made together
            self._kept.clear()
            self._bytes = 0
            return self._rests(sequences, begun, layer, run_until)
        found |= made
        for one, key_values in found.items():
            self._kept[one] = key_values
            self._kept.move_to_end(one)
        self._bytes += sum(map(_size, made.values()))
        while self._bytes > KEPT_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= _size(dropped)
        return [
            Span(whole.templated, found.get(one, []), at, len(tokens) - at)
            for tokens, at, whole, one in zip(sequences, begun, wholes, wanted, strict=True)
        ]

    def _made(self, missing: Sequence[_Beginning], run_until: RunUntil) -> list[KeyValues]:
        made: list[KeyValues] = []
        for places in cut([one.length for one in missing], IN_A_PASS):
            some = [missing[k] for k in places]
            made += self._passes.run(some, sum(one.length for one in some), partial(self._run, run_until=run_until))
        return made

    def _run(self, some: Sequence[_Beginning], run_until: RunUntil) -> list[KeyValues]:
        """Of some beginnings, from one pass; a short one is filled up: see LEAST."""
        pieces = [[Span(one.first > 0, [], one.first, one.length)] for one in some]
        pieces.append([Span(False, [], 0, LEAST)])
        ids = [token for one in some for token in one.tokens[one.first :]] + [0] * LEAST
        cache = DynamicCache()
        given = {"input_ids": torch.tensor([ids], device=self.spans.model.device), **with_cache(cache), "use_cache": True}
        run_until(partial(self.spans.run, pieces, **given))
        ends = accumulate((one.length for one in some), initial=0)
        return [
            [(keys[:, :, at:to].clone(), values[:, :, at:to].clone()) for keys, values in key_values_of(cache)]
            for at, to in pairwise(ends)
        ]


def _size(key_values: KeyValues) -> int:
    return sum(part.nbytes for own in key_values for part in own)


def _equal(one: KeyValues, other: KeyValues) -> bool:
    return all(torch.equal(a, b) for own, others in zip(one, other, strict=True) for a, b in zip(own, others, strict=True))


def numbers(counts: Sequence[int], device: torch.device) -> Tensor:
    """For each place of lists one after the other, which of them it is in."""
    return torch.repeat_interleave(torch.arange(len(counts), device=device), torch.tensor(counts, device=device))


def cut(sizes: Sequence[int], most: int, count: int = sys.maxsize) -> Iterator[range]:
    """Consecutive places: at most so many at once, whose sizes add up to at most `most`; one at least."""
    begin = total = 0
    for k, size in enumerate(sizes):
        if k > begin and (total + size > most or k - begin == count):
            yield range(begin, k)
            begin, total = k, 0
        total += size
    if sizes:
        yield range(begin, len(sizes))


def lists_of(items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    """The items in lists of at most so many."""
    return (items[begin : begin + most] for begin in range(0, len(items), most))
