"""What every engine checks: that a composition fits its model, and that positions are where they may be."""

from collections.abc import Mapping, Sequence

from memctl.adapters import Adapter
from memctl.backends.protocol import Shape, Tokens
from memctl.deltas import Columns, Composition, LowRank
from memctl.errors import MemctlError


def require_fit(composition: Composition, shape: Shape, projections: Mapping[str, tuple[int, int]]) -> None:
    """Checks the place and the shapes of every edit and of the adapter.

    Args:
        projections: Paths of the model's MLP projections, each with the widths of its input and output.

    Raises:
        MemctlError: One is of a layer or projection that the model does not have, or of other widths.
    """
    if composition.adapter is not None:
        _require_adapter(composition.adapter, projections)
    for delta, _ in composition.deltas:
        for edit in delta.edits:
            if not (0 <= edit.layer < shape.layers and _fits(edit.change, shape)):
                raise MemctlError(
                    f"an edit of layer {edit.layer} does not fit a model of {shape.layers} layers, "
                    f"width {shape.hidden} and MLP width {shape.intermediate}",
                    "the store was made over another base model: memctl status",
                )


def require_behind(sequences: Sequence[Tokens], positions: Sequence[Sequence[int]], begun: Sequence[int]) -> None:
    """Fails where a position is not in its sequence's part behind the first `begun` tokens: the caller's mistake."""
    for tokens, places, begin in zip(sequences, positions, begun, strict=True):
        assert 0 <= begin < len(tokens), (begin, len(tokens))
        assert all(begin <= place < len(tokens) for place in places), (begin, places, len(tokens))


def _require_adapter(adapter: Adapter, projections: Mapping[str, tuple[int, int]]) -> None:
    for path, factors in adapter.projections.items():
        inward, outward = projections.get(path, (-1, -1))
        rank = len(factors.A)
        if factors.A.shape != (rank, inward) or factors.B.shape != (outward, rank):
            raise MemctlError(
                f"the adapter's factors {factors.A.shape} and {factors.B.shape} fit no {path} of this model",
                "the store was made over another base model: memctl status",
            )


def _fits(change: LowRank | Columns, shape: Shape) -> bool:
    d, m = shape.hidden, shape.intermediate
    if isinstance(change, LowRank):
        rank = change.U.shape[-1]
        return change.U.shape == (d, rank) and change.V.shape == (m, rank)
    units = len(change.gate)
    return change.gate.shape == change.up.shape == (units, d) and change.down.shape == (d, units)
