"""What base and composition are together, as plain weights: for hashes now, for exports later.

Folded from the pristine base, in canonical order, accumulated in float64 and cast to float32 once.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from memctl.adapters import Adapter
from memctl.backends.protocol import Backend, Float
from memctl.deltas import Composition


def folded(backend: Backend, composition: Composition, layer: int) -> dict[str, Float]:
    """`gate` (m + n, d), `up` (m + n, d) and `down` (d, m + n) of a layer with n added units."""
    weights = backend.mlp_weights(layer)
    if composition.adapter is not None:
        _fold_adapter(weights, backend.tensor_names(layer), composition.adapter)
    if (update := composition.low_rank(layer)) is not None:
        change = update.U.astype(np.float64) @ update.V.astype(np.float64).T
        weights["down"] = (weights["down"].astype(np.float64) + change).astype(np.float32)
    if (units := composition.columns(layer)) is not None:
        weights["gate"] = np.concatenate([weights["gate"], units.gate])
        weights["up"] = np.concatenate([weights["up"], units.up])
        weights["down"] = np.concatenate([weights["down"], units.down], axis=1)
    return weights


def _fold_adapter(weights: dict[str, Float], names: Mapping[str, str], adapter: Adapter) -> None:
    """Adds `s B A` to the weights of a layer; of a fused projection, to each part its rows."""
    for part, weight in weights.items():
        factors = adapter.projections.get(names[part].removesuffix(".weight"))
        if factors is not None:
            first = 0 if len(factors.B) == len(weight) or part == "gate" else len(weight)
            B = factors.B[first : first + len(weight)].astype(np.float64)
            change = B @ factors.A.astype(np.float64)
            weights[part] = (weight.astype(np.float64) + change).astype(np.float32)


def weight_hashes(backend: Backend, composition: Composition) -> dict[str, str]:
    """SHA-256 of gate, up and down, as composed, of every layer that the composition touches, by name; empty for none."""
    found: dict[str, str] = {}
    for layer in composition.layers():
        names = backend.tensor_names(layer)
        for part, tensor in folded(backend, composition, layer).items():
            data = np.ascontiguousarray(tensor, np.float32).tobytes()
            # a fused projection has one name for two parts
            key = names[part] if len(set(names.values())) == len(names) else f"{names[part]}:{part}"
            found[key] = hashlib.sha256(data).hexdigest()
    return found
