import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from memctl.adapters import Adapter, Factors
from memctl.errors import DamagedStore, NonFinite


def adapter(seed: int = 0, rank: int = 2) -> Adapter:
    draw = np.random.default_rng(seed)

    def factors(inward: int, outward: int) -> Factors:
        A, B = draw.standard_normal((rank, inward)), draw.standard_normal((outward, rank))
        return Factors(A.astype(np.float32), B.astype(np.float32))

    paths = {f"model.layers.{layer}.mlp.{name}": name for layer in (15, 3) for name in ("up_proj", "down_proj")}
    return Adapter({path: factors(6, 4) if name == "down_proj" else factors(4, 6) for path, name in paths.items()})


def test_an_adapter_comes_back_from_its_bytes_and_gives_the_same_bytes() -> None:
    made = adapter()
    again = Adapter.from_bytes(made.to_bytes())
    assert again.to_bytes() == made.to_bytes()
    assert again.layers() == (3, 15)
    turned = Adapter(dict(reversed(made.projections.items())))
    assert turned.to_bytes() == made.to_bytes()
    assert adapter(seed=1).to_bytes() != made.to_bytes()


def test_names_and_configuration_are_those_of_peft() -> None:
    made = adapter()
    assert "base_model.model.model.layers.15.mlp.down_proj.lora_A.weight" in load(made.to_bytes())
    config = json.loads(json.dumps(made.config()))
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 2)
    assert (config["target_modules"], config["layers_to_transform"]) == (["down_proj", "up_proj"], [3, 15])


def test_a_projection_may_have_a_rank_of_its_own() -> None:
    made = adapter()
    path = "model.layers.3.mlp.up_proj"
    wide = Factors(np.ones((5, 4), np.float32), np.ones((6, 5), np.float32))
    config = Adapter({**made.projections, path: wide}).config()
    assert (config["r"], config["rank_pattern"], config["alpha_pattern"]) == (2, {path: 5}, {path: 5})
    again = Adapter.from_bytes(Adapter({**made.projections, path: wide}).to_bytes())
    assert again.projections[path].A.shape == (5, 4)


def test_a_nan_is_refused_on_the_way_in_and_on_the_way_out() -> None:
    made = adapter()
    data = bytearray(made.to_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    with pytest.raises(DamagedStore, match="non-finite"):
        Adapter.from_bytes(bytes(data))
    made.projections["model.layers.3.mlp.up_proj"].B[1, 0] = np.inf
    with pytest.raises(NonFinite, match=r"layers\.3\.mlp\.up_proj"):
        made.to_bytes()


def test_bytes_that_are_no_adapter_are_damage() -> None:
    whole = load(adapter().to_bytes())
    config = {"adapter_config": json.dumps(adapter().config())}
    lacking = dict(list(whole.items())[1:])
    other = {"adapter_config": json.dumps(adapter(rank=3).config())}
    for data in (b"", b"not safetensors", save({}, config), save(whole), save(lacking, config), save(whole, other)):
        with pytest.raises(DamagedStore, match="no adapter"):
            Adapter.from_bytes(data)
