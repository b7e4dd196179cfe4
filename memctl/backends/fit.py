"""Whether a composition fits a model: the one check that every engine makes before it attaches anything."""

from memctl.backends.protocol import Shape
from memctl.deltas import Columns, Composition, LowRank
from memctl.errors import MemctlError


def require_fit(composition: Composition, shape: Shape) -> None:
    """Checks the layer and the shapes of every edit.

    Raises:
        MemctlError: An edit is of a layer that the model does not have, or of other widths.
    """
    for delta, _ in composition.deltas:
        for edit in delta.edits:
            if not (0 <= edit.layer < shape.layers and _fits(edit.change, shape)):
                raise MemctlError(
                    f"an edit of layer {edit.layer} does not fit a model of {shape.layers} layers, "
                    f"width {shape.hidden} and MLP width {shape.intermediate}",
                    "the store was made over another base model: memctl status",
                )


def _fits(change: LowRank | Columns, shape: Shape) -> bool:
    d, m = shape.hidden, shape.intermediate
    if isinstance(change, LowRank):
        rank = change.U.shape[-1]
        return change.U.shape == (d, rank) and change.V.shape == (m, rank)
    units = len(change.gate)
    return change.gate.shape == change.up.shape == (units, d) and change.down.shape == (d, units)
