"""What a memory adds to a model: low-rank updates and added MLP units. Pure numpy data that knows nothing of a model.

A delta is what the facts of one subject add. It travels as one safetensors object that holds the factors to
compose and, beside them, what the solve was made from (keys, residuals), so that a solve can be done again
without running the model.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from memctl.adapters import Adapter
from memctl.errors import DamagedStore, NonFinite

Array = NDArray[np.float32]


@dataclass(frozen=True)
class LowRank:
    """`ΔW = U Vᵀ` on a layer's `down_proj`: U is (d, p), V is (m, p), float32."""

    U: Array
    V: Array


@dataclass(frozen=True)
class Columns:
    """Added MLP units, `out += down · (act(gate x) ⊙ (up x))`: gate and up are (n, d), down is (d, n), float32."""

    gate: Array
    up: Array
    down: Array


@dataclass(frozen=True)
class Edit:
    """One layer's part of a delta.

    Attributes:
        layer: Index of the decoder layer, from 0.
        key: (m, p) mean inputs of `down_proj` at the subject's last token, or with units (d, p) of the MLP.
        residual: (d, p) what the layer's output lacks at those keys, `R = V* − W₀K`.
    """

    layer: int
    change: LowRank | Columns
    key: Array
    residual: Array

    @property
    def units(self) -> int:
        """How many MLP units it adds; 0 for a low-rank change."""
        return len(self.change.gate) if isinstance(self.change, Columns) else 0


@dataclass(frozen=True)
class Delta:
    """What the facts of one subject add to the model, layer by layer in ascending order."""

    edits: tuple[Edit, ...]

    def to_bytes(self) -> bytes:
        """The safetensors object. Equal deltas give equal bytes.

        Raises:
            NonFinite: A tensor holds a NaN or an infinity.
        """
        tensors: dict[str, Array] = {}
        for edit in self.edits:
            parts = {"key": edit.key, "residual": edit.residual} | vars(edit.change)
            for name, tensor in parts.items():
                if not np.isfinite(tensor).all():
                    raise NonFinite(
                        f"the edit of layer {edit.layer} has a non-finite number in {name!r}",
                        "nothing was written; try a smaller learning rate or another dtype",
                    )
                tensors[f"{edit.layer}.{name}"] = np.ascontiguousarray(tensor, dtype=np.float32)
        return save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Delta":
        """Reads a safetensors object back.

        Raises:
            DamagedStore: It is no delta, or it holds a non-finite number.
        """
        try:
            tensors = load(data)
            layers = sorted({int(name.split(".")[0]) for name in tensors})
            edits = tuple(_edit_from(tensors, layer) for layer in layers)
        except (SafetensorError, ValueError, KeyError, IndexError) as error:
            raise DamagedStore(f"an object is no delta: {error}", "memctl verify") from error
        for name, tensor in tensors.items():
            if not np.isfinite(tensor).all():
                raise DamagedStore(f"a delta has a non-finite number in {name!r}", "memctl verify")
        return cls(edits)


def _edit_from(tensors: dict[str, Array], layer: int) -> Edit:
    part = {name.split(".")[1]: tensor for name, tensor in tensors.items() if name.startswith(f"{layer}.")}
    change = Columns(part["gate"], part["up"], part["down"]) if "gate" in part else LowRank(part["U"], part["V"])
    return Edit(layer, change, part["key"], part["residual"])


@dataclass(frozen=True)
class Composition:
    """The live deltas with their scales, in canonical order, and the adapter: all that is added to a base model."""

    deltas: tuple[tuple[Delta, float], ...] = ()
    adapter: Adapter | None = None

    def __bool__(self) -> bool:
        """Whether it adds anything."""
        return bool(self.deltas) or self.adapter is not None

    def layers(self) -> tuple[int, ...]:
        """The layers it changes, ascending."""
        edited = {edit.layer for delta, _ in self.deltas for edit in delta.edits}
        return tuple(sorted(edited.union(self.adapter.layers() if self.adapter else ())))

    def columns(self, layer: int) -> Columns | None:
        """All added units of a layer in one piece, scales folded into `down`; None when there are none."""
        found = [
            (edit.change, scale)
            for delta, scale in self.deltas
            for edit in delta.edits
            if edit.layer == layer and isinstance(edit.change, Columns)
        ]
        if not found:
            return None
        return Columns(
            gate=np.concatenate([change.gate for change, _ in found]),
            up=np.concatenate([change.up for change, _ in found]),
            down=np.concatenate([change.down * np.float32(scale) for change, scale in found], axis=1),
        )

    def low_rank(self, layer: int) -> LowRank | None:
        """All low-rank updates of a layer in one piece, scales folded into U; None when there are none."""
        found = [
            (edit.change, scale)
            for delta, scale in self.deltas
            for edit in delta.edits
            if edit.layer == layer and isinstance(edit.change, LowRank)
        ]
        if not found:
            return None
        return LowRank(
            U=np.concatenate([change.U * np.float32(scale) for change, scale in found], axis=1),
            V=np.concatenate([change.V for change, _ in found], axis=1),
        )


def compose(deltas: Iterable[tuple[Delta, float]], adapter: Adapter | None = None) -> Composition:
    """The composition of an adapter and deltas given in canonical order; those at scale 0 are left out."""
    kept: Sequence[tuple[Delta, float]] = [(delta, scale) for delta, scale in deltas if scale != 0.0]
    return Composition(tuple(kept), adapter)
