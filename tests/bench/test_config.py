from pathlib import Path
from typing import Any

import msgspec
import pytest

from memctl.bench import SUITES
from memctl.bench.capacity import CapacityConfig
from memctl.bench.config import read_config
from memctl.bench.damping import DampingConfig
from memctl.bench.suites import INVENTED, PUBLISHED
from memctl.errors import UsageError


def written(folder: Path, text: str) -> Path:
    path = folder / "bench.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_ships_with_a_config(suite: str) -> None:
    kind = (INVENTED | PUBLISHED)[suite].config_type
    config = read_config(kind, suite, None, {})
    assert config.seeds
    assert config.sizes


def test_the_cliff_is_one_config_of_capacity() -> None:
    path = Path(__file__).parent.parent.parent / "configs" / "bench-cliff.toml"
    assert "memit" in read_config(CapacityConfig, "capacity", path, {}).methods


def test_the_shipped_capacity_has_fewer_seeds_where_a_size_takes_hours() -> None:
    config = read_config(CapacityConfig, "capacity", None, {})
    assert [sum(size in config.sizes_of(seed) for seed in config.seeds) for size in (100, 300, 1000)] == [5, 3, 1]


def test_the_command_line_goes_before_the_file_and_named_seeds_are_meant_everywhere(tmp_path: Path) -> None:
    path = written(tmp_path, "seeds = [1, 2]\nsizes = [1, 5]\nprobed = 3\n[most_seeds]\n5 = 1\n")
    assert read_config(CapacityConfig, "capacity", path, {}).sizes_of(2) == (1,)
    config = read_config(CapacityConfig, "capacity", path, {"seeds": [1, 2], "sizes": None})
    assert config.sizes_of(2) == (1, 5)
    assert config.probed == 3


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("seeds = [1]\nsizes = [1]\nstranger = 3", "stranger"),
        ("seeds = [1]", "sizes"),
        ("seeds = [1]\nsizes = ['few']", "sizes"),
        ("seeds = [1]\nsizes = [3, 1]", "ascend"),
        ("seeds = [1, 1]\nsizes = [1]", "seeds"),
        ("seeds = [1]\nsizes = [1]\nmethods = ['memctl', 'memit', 'memctl']", "memctl is there twice"),
        ("seeds = [1]\nsizes = [0]", "sizes"),
        ("seeds = [1]\nsizes = [1]\nmethods = ['magic']", "magic"),
        ("seeds = [1]\nsizes = [1]\n[memit]\nlayer = 3", "layer"),
        ("seeds = [1]\nsizes = [1]\nnearest = 0", "nearest"),
        ("seeds = [1]\nsizes = [1]\nstrangers = -1", "strangers"),
        ("seeds = ", "TOML"),
    ],
)
def test_a_wrong_config_is_said_with_its_file_and_field(tmp_path: Path, text: str, wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong) as found:
        read_config(CapacityConfig, "capacity", written(tmp_path, text), {})
    assert "bench.toml" in found.value.message


def test_what_a_suite_does_not_have_cannot_be_given() -> None:
    with pytest.raises(UsageError, match="methods"):
        read_config(INVENTED["speed"].config_type, "speed", None, {"methods": ["memctl"]})


@pytest.mark.parametrize("field", ["single", "batch", "repeats"])
def test_speed_is_not_measured_on_nothing(field: str) -> None:
    with pytest.raises(UsageError, match=field):
        read_config(INVENTED["speed"].config_type, "speed", None, {field: 0})


def test_many_facts_on_each_subject_are_one_config_of_capacity() -> None:
    path = Path(__file__).parent.parent.parent / "configs" / "bench-subjects.toml"
    config = read_config(CapacityConfig, "capacity", path, {})
    assert config.each == 10
    assert max(config.sizes) == 300


def test_facts_in_batches_are_one_config_of_capacity_with_the_same_facts() -> None:
    path = Path(__file__).parent.parent.parent / "configs" / "bench-batches.toml"
    batches, single = read_config(CapacityConfig, "capacity", path, {}), read_config(CapacityConfig, "capacity", None, {})
    assert batches == msgspec.structs.replace(single, at_once=8)


@pytest.mark.parametrize("field", ["dampings", "thresholds"])
def test_a_value_is_not_measured_twice(tmp_path: Path, field: str) -> None:
    values = {"dampings": "[1.0]", "thresholds": "[0.5]"} | {field: "[0.5, 1, 1.0]"}
    text = "seeds = [1]\nsizes = [1]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
    with pytest.raises(UsageError, match=rf"{field} must be different, and 1\.0 is there twice"):
        read_config(DampingConfig, "lambda", written(tmp_path, text), {})


@pytest.mark.parametrize(
    ("field", "value"),
    [("methods", ["foo"]), ("methods", ["memctl", "memctl"]), ("sizes", [36, 10]), ("sizes", [0]), ("seeds", [1, 1])],
)
def test_what_the_command_line_has_wrong_is_not_put_on_the_file(field: str, value: list[Any]) -> None:
    with pytest.raises(UsageError, match=f"^the command line: .*{field}") as found:
        read_config(CapacityConfig, "capacity", None, {field: value})
    assert f"--{field} " in found.value.hint
    assert "--config" not in found.value.hint


def as_reported(config: msgspec.Struct) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(config, str_keys=True)))
    return found


@pytest.mark.parametrize("suite", SUITES)
def test_a_report_says_all_that_a_run_needs_to_go_on(suite: str, tmp_path: Path) -> None:
    kind = (INVENTED | PUBLISHED)[suite].config_type
    shipped = read_config(kind, suite, None, {})
    given = {name: getattr(shipped, name) * 2 for name in ("strangers", "nearest") if hasattr(shipped, name)}
    begun = msgspec.structs.replace(shipped, seeds=(7, 8), most_seeds={2: 1}, **given)
    assert read_config(kind, suite, None, {}, as_reported(begun)) == begun


def test_of_a_file_that_is_given_again_the_report_replaces_what_the_command_line_did(tmp_path: Path) -> None:
    path = written(tmp_path, "seeds = [1, 2]\nsizes = [1, 5]\nprobed = 3\n[most_seeds]\n5 = 1\n")
    begun = read_config(CapacityConfig, "capacity", path, {"seeds": [4], "methods": ["in-prompt"]})
    path.write_text(path.read_text().replace("probed = 3", "probed = 4"))
    again = read_config(CapacityConfig, "capacity", path, {}, as_reported(begun))
    assert again == msgspec.structs.replace(begun, probed=4)  # which is refused, rather than passed over


def test_further_seeds_of_a_report_are_measured_where_its_most_seeds_let_them() -> None:
    begun = read_config(CapacityConfig, "capacity", None, {})
    seeds = [*begun.seeds, 306]
    more = read_config(CapacityConfig, "capacity", None, {"seeds": seeds}, as_reported(begun))
    assert [more.sizes_of(seed) for seed in begun.seeds] == [begun.sizes_of(seed) for seed in begun.seeds]
    assert more.sizes_of(306) == (1, 10, 36, 100)
