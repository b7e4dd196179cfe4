"""Edits become part of an adapter: the least used neurons of the edited layer's MLP are replaced by the edits' units.

A unit is `down · act(gate·x) (up·x)`, which is what a neuron of a gated MLP is. So for unit i and the neuron j that gives way,

    ΔW_gate[j] = gateᵢ − W_gate[j]     ΔW_up[j] = upᵢ − W_up[j]     ΔW_down[:, j] = downᵢ − W_down[:, j]

are three products `B A` whose rank is the number of units: a LoRA adapter that any library runs, with the units' selectivity,
and nothing left to attach beside the model. What it costs is what the neurons did; the drift is measured before it is kept.

While a unit's edit is still there at a scale s, the neuron adds (1 − s)·downᵢ: both fire alike, so their sum is the edit at
every s. With the whole value in both, a fact was answered at 1 and lost at 1.5 and 2 times its value.
"""

from collections.abc import Sequence

import numpy as np

from memctl.adapters import Adapter, Factors
from memctl.backends.protocol import Backend, Float
from memctl.deltas import Columns
from memctl.editing.selectors import activation
from memctl.editing.statistics import Statistics
from memctl.errors import GateRefused, MemctlError
from memctl.models.structure import TOLERANCE

MOST = 0.25
"""Largest share of a layer's neurons that may give way."""

LOT = 16
"""Most neurons that are left as they are at once: the set is another one, and its least used are few more."""

PROBE = "The quick brown fox jumps over the lazy dog."
"""A text on which neurons are compared with units."""


def room(backend: Backend) -> int:
    """How many neurons of a layer may give way."""
    return int(MOST * backend.shape.intermediate)


def choices(backend: Backend, count: int) -> int:
    """How many different sets of neurons may give way to so many units: the last lies at the end of the room."""
    return 1 - (count - room(backend)) // min(count, LOT)


def require_unbiased(backend: Backend, layer: int) -> None:
    """Refuses a layer whose neurons are not what units are: with the biases of its neuron, a unit would be another one.

    Raises:
        MemctlError: On a text, the neurons do not come to `act(gate·x) (up·x)`.
    """
    tokens = backend.encode(PROBE, "raw").tokens
    seen = backend.activations([tokens], layer, [range(1, len(tokens))])  # the first token's may be larger than all others
    base = backend.mlp_weights(layer)
    computed = activation(backend.activation, base["gate"], base["up"], seen.inputs)
    if not float(np.linalg.norm(seen.keys - computed)) <= TOLERANCE * float(np.linalg.norm(seen.keys)):
        raise MemctlError(
            f"the neurons of layer {layer} are not what units are, as where they have biases",
            "the facts keep their edits; with edit.units = 0 an adapter is trained instead",
        )


def transplanted(backend: Backend, layer: int, units: Columns, stats: Statistics, skipped: int = 0) -> Adapter:
    """The adapter that does on a layer what the units do beside it, whole.

    Args:
        skipped: How many lots of least used neurons are left as they are, each of as many as there are units or of LOT.

    Raises:
        GateRefused: There are more units than neurons that may give way.
        MemctlError: See `require_unbiased`.
    """
    require_unbiased(backend, layer)
    count, width = len(units.gate), backend.shape.intermediate
    if count > room(backend):
        raise GateRefused(
            f"{count} units of edits are more than the {room(backend)} neurons of layer {layer} that may give way to them",
            "consolidate fewer facts at once: --facts",
        )
    first = min(skipped * min(count, LOT), room(backend) - count)
    given = np.sort(np.argsort(stats.used, kind="stable")[first : first + count])
    base, names = backend.mlp_weights(layer), backend.tensor_names(layer)
    chosen: Float = np.zeros((count, width), np.float32)
    chosen[np.arange(count), given] = 1
    path = {part: name.removesuffix(".weight") for part, name in names.items()}
    gate = Factors(units.gate - base["gate"][given], chosen.T.copy())
    up = Factors(units.up - base["up"][given], chosen.T.copy())
    down = Factors(chosen, units.down - base["down"][:, given])
    if path["gate"] == path["up"]:
        return Adapter({path["gate"]: _fused(gate, up), path["down"]: down})
    return Adapter({path["gate"]: gate, path["up"]: up, path["down"]: down})


def shared_out(adapter: Adapter, backend: Backend, layer: int, units: Columns, scales: Sequence[float]) -> Adapter:
    """The adapter beside edits that are still there at some scales.

    Args:
        adapter: One that took just these units over, at whatever scales.
        scales: Of each unit's edit, from 0.0, where the adapter has all of it.
    """
    path = backend.tensor_names(layer)["down"].removesuffix(".weight")
    chosen = adapter.projections[path].A
    given = chosen.argmax(axis=1)
    left = units.down * (1 - np.array(scales, np.float32))
    down = Factors(chosen, left - backend.mlp_weights(layer)["down"][:, given])
    return Adapter({**adapter.projections, path: down})


def _fused(gate: Factors, up: Factors) -> Factors:
    """The factors of one projection whose rows are those of the gate, then those of the other."""
    nothing = np.zeros_like(gate.B)
    return Factors(np.concatenate([gate.A, up.A]), np.block([[gate.B, nothing], [nothing, up.B]]))
