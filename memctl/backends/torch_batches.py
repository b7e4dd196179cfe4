"""How sequences are put together for one pass of a torch model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from memctl.backends.protocol import Tokens

TOKENS_AT_ONCE = 2048
"""Size of a batch of texts, in tokens with padding: fills the machine, fits a laptop."""

HEAD = 4
"""Sequences that begin with the same tokens, so many, are looked at for what more they share."""

WORTH_A_PASS = 128
"""Tokens that have to be spared for another pass to be worth it, which costs as much as some eighty."""

CONTINUED_AT_ONCE = 16_384
"""The same for continuations, whose cost is in their number of steps."""


def families(sequences: Sequence[Tokens], positions: Sequence[Sequence[int]]) -> list[tuple[int, list[int]]]:
    """Sequences that begin alike, as those of a chat template do: how many tokens each family shares, and its indices.

    What they share ends before the first position that is wanted. All others are together, and share nothing.
    """
    alike: dict[Tokens, list[int]] = {}
    for index, (sequence, wanted) in enumerate(zip(sequences, positions, strict=True)):
        alike.setdefault(sequence[: min(HEAD, min(wanted))], []).append(index)
    found, rest = [], set(range(len(sequences)))
    for family in alike.values():
        shared = common_prefix([sequences[k] for k in family], min(min(positions[k]) for k in family))
        if shared * (len(family) - 1) >= WORTH_A_PASS:
            found.append((shared, family))
            rest.difference_update(family)
    return [*found, (0, sorted(rest))] if rest else found


def common_prefix(sequences: Sequence[Tokens], limit: int) -> int:
    """How many tokens all sequences share at the start, at most `limit`."""
    first, last = min(sequences), max(sequences)
    unlike = (k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return min(limit, next(unlike, len(first)))


def batches(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Indices in batches of like lengths, each of at most so many tokens with padding."""
    found: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (lengths[index], index)):
        if found and lengths[index] * (len(found[-1]) + 1) <= most:
            found[-1].append(index)
        else:
            found.append([index])
    return found


def padded(sequences: Sequence[Sequence[int]], left: bool = False) -> Tensor:
    """(rows, longest) int64 token ids, filled up with zeros on the right or the left."""
    width = max(map(len, sequences))
    rows = [
        [0] * (width - len(sequence)) + list(sequence) if left else list(sequence) + [0] * (width - len(sequence))
        for sequence in sequences
    ]
    return torch.tensor(rows, dtype=torch.long)


def holds(text: str, stop: Sequence[str]) -> bool:
    """Whether a text holds one of the stop strings."""
    return any(end in text for end in stop)
