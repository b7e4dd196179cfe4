"""How sequences are put together for one pass of a torch model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from memctl.backends.protocol import Tokens

TOKENS_AT_ONCE = 2048
"""Size of a batch of texts, in tokens with padding: fills the machine, fits a laptop."""

SHARED_FROM = 4
"""Tokens that sequences have to share at the start for it to be worth running them once."""

CONTINUED_AT_ONCE = 16_384
"""The same for continuations, whose cost is in their number of steps."""


def families(sequences: Sequence[Tokens], positions: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices of sequences that begin with the same tokens, as those of a chat template do; all others together."""
    alike: dict[Tokens, list[int]] = {}
    for index, (sequence, wanted) in enumerate(zip(sequences, positions, strict=True)):
        alike.setdefault(sequence[: min(SHARED_FROM, min(wanted))], []).append(index)
    large = [family for head, family in alike.items() if len(head) == SHARED_FROM and len(family) > 1]
    rest = sorted(set(range(len(sequences))).difference(*large))
    return [*large, rest] if rest else large


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
