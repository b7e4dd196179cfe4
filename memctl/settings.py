"""Typed settings, their precedence, and where each value came from.

Every place that values can come from is flattened to dotted keys (`edit.layer`), so that one rule decides: the
first place that has the key. A value is checked with the name of the place where it was written.
"""

import difflib
import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import platformdirs
from msgspec import Meta

from memctl import toml_files
from memctl.errors import DamagedStore, UsageError

NUMPY = "numpy"
"""The engine that brings its own model and knows no other, and the name of that model."""

ENGINES = ("torch", NUMPY)


class EditSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a wake edit is made. Everything that changes the bytes of a delta is here, and nothing else.

    Attributes:
        layer: The decoder layer that is edited, from 0; −1 is a little under half of the depth.
        units: Added MLP units per subject, 2; 0 is plain MEMIT.
        damping: λ of the solve, relative to the mean of diag(KᵀC⁻¹K).
        steps: Most optimisation steps of the value of one fact; of a subject with n facts √n times as many.
        wordings: Training cues of a fact that are sampled in each step.
        probes: Cues about other relations of the subject that are sampled in each step.
        probe_weight: Factor of their KL divergence to the base; with n facts divided by n.
        learning_rate: Length of the first step, relative to the norm of the layer's typical output; with n facts times √n.
        norm_bound: Longest value, in the same unit; with n facts times √n.
        threshold: θ, the score under which a subject's units are silent.
        sharpness: β of their gates.
        look_alikes: Names with the subject's last word, and with its first, that a unit must not answer to.
    """

    layer: Annotated[int, Meta(ge=-1)] = -1
    units: Literal[0, 2] = 2
    damping: Annotated[float, Meta(gt=0)] = 0.1
    steps: Annotated[int, Meta(ge=1)] = 28
    wordings: Annotated[int, Meta(ge=1)] = 3
    probes: Annotated[int, Meta(ge=0)] = 1
    probe_weight: Annotated[float, Meta(ge=0)] = 0.4
    learning_rate: Annotated[float, Meta(gt=0)] = 0.8
    norm_bound: Annotated[float, Meta(gt=0)] = 10.0
    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.58
    sharpness: Annotated[float, Meta(gt=0)] = 100.0
    look_alikes: tuple[Annotated[int, Meta(ge=1)], Annotated[int, Meta(ge=1)]] = (80, 24)


Share = Annotated[float, Meta(ge=0, le=1)]


class SleepSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How facts go over from their edits into the adapter, and what a sleep may cost.

    Attributes:
        schedule: Scales of an edit at the stages 0 to 3, falling from 1.0 to 0.0.
        threshold: Recall, mean of raw and chat, under which a fact is degraded.
        efforts: How often a degraded subject is searched anew, each time with twice the steps, and an adapter trained anew.
        capacity: Live edits that a base holds without loss; above it, facts that no effort mends are given up.
        drift_budget: Largest relative change of the held-out perplexity that a memory may have after a sleep.
        general_kept: Least share of the general questions that are still answered.
        identity_kept: Least share of the questions about the model itself.
        recall_loss: Most that the mean recall of all facts, raw or in chat, may fall.
        interval_days: Time after which the waiting of facts counts in full.
        nap: Facts, the newest, that a nap asks for.
    """

    schedule: tuple[float, float, float, float] = (1.0, 0.5, 0.1, 0.0)
    threshold: Share = 0.75
    efforts: Annotated[int, Meta(ge=0)] = 2
    capacity: Annotated[int, Meta(ge=1)] = 200
    drift_budget: Annotated[float, Meta(ge=0)] = 0.01
    general_kept: Share = 0.98
    identity_kept: Share = 0.93
    recall_loss: Share = 0.02
    interval_days: Annotated[float, Meta(gt=0)] = 7.0
    nap: Annotated[int, Meta(ge=1)] = 20

    def __post_init__(self) -> None:
        falling = all(higher > lower for higher, lower in pairwise(self.schedule))
        if not (falling and self.schedule[0] == 1.0 and self.schedule[-1] == 0.0):
            raise ValueError("sleep.schedule must fall from 1.0 to 0.0")


class LoraSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How sleep trains an adapter above what it takes over. What changes its bytes is here and in the facts, nothing else.

    Attributes:
        rank: Of the factors.
        projections: The MLP's projections that are adapted, by the beginning of their names.
        passes: Lessons of each fact in all; 0 takes the edits over as they are.
        least_steps: Fewest steps, for few facts.
        taught: Lessons that teach a fact, in each step.
        names: Lessons held to the base in each step: a fact's wordings about other people.
        relations: The same: other relations of the subjects.
        texts: The same: passages of reference text.
        kept_weight: Factor of the mean KL divergence of each of these kinds.
        learning_rate: AdamW's highest.
        look_alikes: Names like a subject's that its wordings are asked with.
        strangers: Names of nothing in common.
        probes: Other relations of a subject, each raw and in chat.
        passages: Of reference text.
        check_every: Steps between two checks of whether the facts have been learned.
    """

    rank: Annotated[int, Meta(ge=1)] = 16
    projections: Literal["all", "down"] = "all"
    passes: Annotated[int, Meta(ge=0)] = 0
    least_steps: Annotated[int, Meta(ge=1)] = 40
    taught: Annotated[int, Meta(ge=1)] = 8
    names: Annotated[int, Meta(ge=0)] = 8
    relations: Annotated[int, Meta(ge=0)] = 8
    texts: Annotated[int, Meta(ge=0)] = 1
    kept_weight: Annotated[float, Meta(ge=0)] = 2.0
    learning_rate: Annotated[float, Meta(gt=0)] = 1e-3
    look_alikes: Annotated[int, Meta(ge=0)] = 8
    strangers: Annotated[int, Meta(ge=0)] = 2
    probes: Annotated[int, Meta(ge=0)] = 20
    passages: Annotated[int, Meta(ge=0)] = 40
    check_every: Annotated[int, Meta(ge=1)] = 20


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the commands go by.

    Attributes:
        store: The memory directory.
        model: Base model: the bundled one's name, a hub id, a folder, or a GGUF file; `numpy` for that engine's own.
        backend: The engine.
        device: `auto`, `cpu`, or a CUDA device.
        dtype: Of the weights while they run; `auto` is the fastest one of the device that holds the facts.
        drift_budget: Largest relative change of the held-out perplexity that an edit may cause.
        edit: How a wake edit is made.
        lora: How sleep trains an adapter.
        sleep: How a sleep goes.
    """

    store: str
    model: str = "smollm2-135m-instruct"
    backend: str = "torch"
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    drift_budget: Annotated[float, Meta(ge=0)] = 0.005
    edit: EditSettings = EditSettings()
    lora: LoraSettings = LoraSettings()
    sleep: SleepSettings = SleepSettings()


@dataclass(frozen=True)
class Effective:
    """Settings, and for each dotted key (`model`, `edit.layer`) where its value came from."""

    settings: Settings
    sources: dict[str, str]


@dataclass(frozen=True)
class _Layer:
    """One place that values come from: dotted keys and values, and how a message names one of them."""

    values: dict[str, Any]
    name: Callable[[str], str]
    typed: bool = True


def settings_hash(*settings: EditSettings | LoraSettings) -> str:
    """16 hexadecimal digits of the SHA-256 of the settings' canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(settings, order="sorted")).hexdigest()[:16]


def keys() -> dict[str, Any]:
    """Every dotted key and the type of its value, in the order of declaration."""
    found = {}
    for field in msgspec.structs.fields(Settings):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found.update({f"{field.name}.{part.name}": part.type for part in msgspec.structs.fields(field.type)})
        else:
            found[field.name] = field.type
    return found


def user_config() -> Path:
    """The user's own settings file, which need not exist."""
    return Path(platformdirs.user_config_dir("memctl")) / "config.toml"


def store_path(flags: Mapping[str, Any]) -> Path:
    """The memory directory: flag, `MEMCTL_STORE`, user file, or the user's data folder. Reads nothing in it."""
    values, sources = _merge([_flags(flags), _environment(), _user_file(), _defaults()], ["store"])
    try:
        return Path(values["store"]).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(f"{sources['store']}: {values['store']}: {error}", "give the folder in full") from error


def load_settings(flags: Mapping[str, Any]) -> Effective:
    """The settings in force: flag > environment > store > user file > shipped file > default.

    With the numpy engine the model is the engine's own, unless this very command asks for another one.

    Args:
        flags: Dotted keys and values from the command line; None means not given.

    Raises:
        UsageError: A key is unknown or a value has the wrong type; names the place, the key and the type. Or values of one
            table do not go together.
        DamagedStore: The store's `memctl.toml` is no TOML.
    """
    store = store_path(flags)
    asked = [_flags(flags), _environment()]
    above = [*asked, _store_file(store), _user_file()]
    if _merge([*above, _defaults()], ["backend"])[0]["backend"] == NUMPY:
        above = [*asked, _Layer({"model": NUMPY}, lambda key: "the numpy engine"), *above]
    model = _merge([*above, _defaults()], ["model"])[0]["model"]
    values, sources = _merge([*above, _shipped_file(model), _defaults()], list(keys()))
    try:
        return Effective(msgspec.convert(_nested(values | {"store": str(store)}), Settings), sources)
    except msgspec.ValidationError as error:
        places = f"{user_config()}, the store's memctl.toml, MEMCTL_… in the environment, or the command line"
        raise UsageError(f"the settings do not go together: {error}", f"correct {places}") from error


def fitting(effective: Effective, key: str, value: Any) -> None:
    """Whether a value in the type of its key goes with all others.

    Raises:
        UsageError: It does not, and no command would read such settings.
    """
    values = toml_files.flatten(msgspec.to_builtins(effective.settings)) | {key: value}
    try:
        msgspec.convert(_nested(values), Settings)
    except msgspec.ValidationError as error:
        raise UsageError(f"{key} cannot be {value!r}: {error}", "`memctl config` shows every value") from error


def checked(key: str, value: Any, where: str, *, typed: bool = False) -> Any:
    """A value in the type of its key.

    Args:
        where: The place it was written in, for the message.
        typed: The place has types, as TOML does; otherwise the value is a text as it comes from a shell.

    Raises:
        UsageError: There is no such key, or the value has the wrong type or is not finite.
    """
    expected = keys().get(key)
    if expected is None:
        raise _unknown(key, where)
    if not typed and isinstance(value, str) and get_origin(expected) is tuple:
        value = [part.strip() for part in value.strip("[]() ").split(",")]
    try:
        found = msgspec.convert(value, expected, strict=typed)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{where}: {key} must be {_describe(expected)}, not {value!r}", "`memctl config` shows every value"
        ) from error
    if isinstance(found, float) and not math.isfinite(found):
        raise UsageError(f"{where}: {key} must be a finite number, not {value!r}", f"memctl config set {key} NUMBER")
    return found


_TYPES = {str: "a text", int: "a whole number", float: "a number"}


def _merge(layers: list[_Layer], wanted: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """For each wanted key the first layer's value, checked, and that layer's name for it."""
    values, sources = {}, {}
    for key in wanted:
        layer = next(layer for layer in layers if key in layer.values)
        sources[key] = layer.name(key)
        values[key] = checked(key, layer.values[key], sources[key], typed=layer.typed)
    return values, sources


def _describe(expected: Any) -> str:
    if get_origin(expected) is Annotated:
        kind, limits = get_args(expected)
        bounds = {"at least": limits.ge, "more than": limits.gt, "at most": limits.le, "less than": limits.lt}
        said = " and ".join(f"{name} {bound}" for name, bound in bounds.items() if bound is not None)
        return f"{_describe(kind)} of {said}"
    if get_origin(expected) is tuple:
        kinds = get_args(expected)
        return f"{len(kinds)} {_describe(kinds[0]).removeprefix('a ').replace('number', 'numbers', 1)}"
    if get_origin(expected) is Literal:
        return "one of " + ", ".join(map(str, get_args(expected)))
    return _TYPES[expected]


def _unknown(key: str, where: str) -> UsageError:
    near = difflib.get_close_matches(key, keys(), n=1)
    hint = f"did you mean {near[0]}?" if near else "`memctl config` lists the keys"
    return UsageError(f"{where}: there is no setting {key!r}", hint)


def _flags(flags: Mapping[str, Any]) -> _Layer:
    given = {key: value for key, value in flags.items() if value is not None}
    if empty := [key for key, value in given.items() if value == ""]:
        raise UsageError(f"--{empty[0]} is empty", "give a value, or leave it out")
    return _Layer(given, lambda key: f"--{key.replace('.', '-').replace('_', '-')}", typed=False)


def _environment() -> _Layer:
    names = {key: f"MEMCTL_{key.replace('.', '_').upper()}" for key in keys()}
    found = {key: os.environ[name] for key, name in names.items() if os.environ.get(name)}
    return _Layer(found, lambda key: names[key], typed=False)


def _user_file() -> _Layer:
    path = user_config()
    return _file(path, toml_files.flatten(toml_files.read(path)))


def _store_file(store: Path) -> _Layer:
    """The `[settings]` of `memctl.toml`, and the base model that the store belongs to."""
    path = store / "memctl.toml"
    try:
        content = toml_files.read(path)
    except UsageError as error:
        raise DamagedStore(error.message, "`memctl verify` lists all damage") from error
    settings, base = content.get("settings", {}), content.get("base", {})
    if not isinstance(settings, dict) or not isinstance(base, dict):
        raise DamagedStore(f"{path}: [settings] and [base] must be tables", "`memctl verify` lists all damage")
    values = {key: value for key, value in toml_files.flatten(settings).items() if key != "store"}
    return _file(path, {"model": base["name"]} | values if "name" in base else values)


def shipped(name: str) -> Path | None:
    """A file of `configs/`, which lies beside the package in a checkout, inside it once installed; None for no such file."""
    package = Path(__file__).parent
    places = (package / "configs" / name, package.parent / "configs" / name)
    return next((path for path in places if path.is_file()), None)


def _shipped_file(model: str) -> _Layer:
    bundled = Settings(store="").model
    name = bundled if model.strip().casefold() in ("bundled", bundled) else model.replace("/", "--")
    path = None if name.startswith("bench-") else shipped(f"{name}.toml")
    return _file(path, toml_files.flatten(toml_files.read(path))) if path else _Layer({}, str)


def _defaults() -> _Layer:
    values = msgspec.to_builtins(Settings(store=platformdirs.user_data_dir("memctl")))
    return _Layer(toml_files.flatten(values), lambda key: "default")


def _file(path: Path, values: dict[str, Any]) -> _Layer:
    known = keys()
    for key in values:
        if key not in known:
            raise _unknown(key, str(path))
    return _Layer(values, lambda key: str(path))


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        table, _, name = key.rpartition(".")
        (nested.setdefault(table, {}) if table else nested)[name] = value
    return nested
