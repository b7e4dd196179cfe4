"""A LoRA adapter: what sleep adds to a model. Pure numpy data that knows nothing of a model.

It travels as one safetensors object in peft's own layout: the tensors under the names that peft gives them, and peft's
adapter_config.json in the metadata. Written out as two files, it is a checkpoint that peft loads.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from memctl.errors import DamagedStore, NonFinite

Array = NDArray[np.float32]

_PREFIX = "base_model.model."
_LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class Factors:
    """`ΔW = B A` on one projection: A is (r, in), B is (out, r), float32."""

    A: Array
    B: Array


@dataclass(frozen=True)
class Adapter:
    """What is added to the projections of a model, by the paths that the model has them under.

    Attributes:
        projections: Factors by path, such as `model.layers.15.mlp.down_proj`, each of its own rank. peft's `alpha` is that
            rank, so that its factor `alpha / r` is 1.
    """

    projections: Mapping[str, Factors]

    def layers(self) -> tuple[int, ...]:
        """The layers it changes, ascending."""
        return tuple(sorted({layer_of(path) for path in self.projections}))

    def config(self) -> dict[str, Any]:
        """What peft's adapter_config.json says of it."""
        ranks = {path: len(own.A) for path, own in self.projections.items()}
        usual = max(sorted(set(ranks.values())), key=list(ranks.values()).count)
        unusual = {path: rank for path, rank in sorted(ranks.items()) if rank != usual}
        return {
            "alpha_pattern": unusual,
            "base_model_name_or_path": None,
            "bias": "none",
            "inference_mode": True,
            "layers_to_transform": list(self.layers()),
            "lora_alpha": usual,
            "lora_dropout": 0.0,
            "peft_type": "LORA",
            "r": usual,
            "rank_pattern": unusual,
            "target_modules": sorted({path.rpartition(".")[2] for path in self.projections}),
            "task_type": "CAUSAL_LM",
        }

    def to_bytes(self) -> bytes:
        """The safetensors object. Equal adapters give equal bytes.

        Raises:
            NonFinite: A tensor holds a NaN or an infinity.
        """
        tensors: dict[str, Array] = {}
        for path, factors in self.projections.items():
            for name, tensor in vars(factors).items():
                if not np.isfinite(tensor).all():
                    raise NonFinite(
                        f"the adapter of {path} has a non-finite number in {name}",
                        "nothing was written; try a smaller learning rate or another dtype",
                    )
                tensors[_tensor_name(path, name)] = np.ascontiguousarray(tensor, dtype=np.float32)
        return save(tensors, {"adapter_config": json.dumps(self.config(), sort_keys=True)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Adapter":
        """Reads a safetensors object back.

        Raises:
            DamagedStore: It is no adapter, or it holds a non-finite number.
        """
        try:
            tensors = load(data)
            paths = sorted({name.removeprefix(_PREFIX).rpartition(".lora_")[0] for name in tensors})
            factors = {path: Factors(tensors[_tensor_name(path, "A")], tensors[_tensor_name(path, "B")]) for path in paths}
            config = json.loads(_metadata(data)["adapter_config"])
            found = cls(factors)
            whole = all(own.A.ndim == own.B.ndim == 2 and len(own.A) == own.B.shape[1] for own in factors.values())
            if len(tensors) != 2 * len(paths) or not whole or found.config() != config:
                raise ValueError("its tensors are not those of its configuration")
        except (SafetensorError, ValueError, KeyError, TypeError, StopIteration) as error:
            raise DamagedStore(f"an object is no adapter: {error}", "memctl verify") from error
        for name, tensor in tensors.items():
            if not np.isfinite(tensor).all():
                raise DamagedStore(f"an adapter has a non-finite number in {name!r}", "memctl verify")
        return found


def layer_of(path: str) -> int:
    """The layer of a projection: the first number in its path.

    Raises:
        ValueError: There is none.
    """
    found = _LAYER.search(path)
    if found is None:
        raise ValueError(f"{path!r} names no layer")
    return int(found[1])


def _tensor_name(path: str, factor: str) -> str:
    return f"{_PREFIX}{path}.lora_{factor}.weight"


def _metadata(data: bytes) -> dict[str, str]:
    """The texts in the header of a safetensors object: its first eight bytes say how long that is."""
    length = int.from_bytes(data[:8], "little")
    found: dict[str, str] = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return found
