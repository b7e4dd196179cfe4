"""A suite's settings: a TOML file of `configs/` or the user's own, with what the command line replaces."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from memctl import toml_files
from memctl.errors import UsageError
from memctl.settings import shipped

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]


COMMAND_LINE = "the command line"
REPORT = "the report"

OF_A_RUN = ("seeds", "sizes", "methods", "most_seeds")
"""What a run that goes on takes from its report, whatever a file says; all else in a file has to be the report's."""

HINTS = {
    "seeds": "--seeds 1,2,3",
    "sizes": "--sizes 1,10,36",
    "methods": "--methods memctl,in-prompt; `memctl bench --help` names them all",
}
"""How to give what the command line can give."""


class SuiteConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every suite is told.

    Attributes:
        seeds: Each draws facts of its own.
        sizes: Numbers of facts, ascending.
        most_seeds: From a size on, only the first so many seeds: `{300: 3, 1000: 1}`.
    """

    seeds: tuple[int, ...]
    sizes: tuple[int, ...]
    most_seeds: dict[int, int] = {}  # msgspec copies an empty default for each instance

    def sizes_of(self, seed: int) -> tuple[int, ...]:
        """The sizes that a seed is measured at."""
        return tuple(size for size in self.sizes if self.seeds.index(seed) < self._seeds_at(size))

    def _seeds_at(self, size: int) -> int:
        limits = [most for begin, most in self.most_seeds.items() if begin <= size]
        return min([len(self.seeds), *limits])


Config = TypeVar("Config", bound=SuiteConfig)


def read_config(
    kind: type[Config], suite: str, path: Path | None, given: Mapping[str, Any], begun: Mapping[str, Any] | None = None
) -> Config:
    """The settings of a suite.

    Args:
        path: A file in place of the shipped `bench-SUITE.toml`.
        given: Fields from the command line, which go before all others; None means not given.
        begun: The config of the report that is to go on, which goes before the shipped file; of a file that is given, it
            goes before OF_A_RUN alone.

    Raises:
        UsageError: The file is missing or no TOML, or a field is unknown, missing or wrong; names the field and its place.
    """
    file = path or shipped(f"bench-{suite}.toml")
    if file is None or not file.is_file():
        raise UsageError(f"there is no config {path or f'bench-{suite}.toml'}", "--config FILE names one")
    known = {field.name for field in msgspec.structs.fields(kind)}
    chosen = {name: value for name, value in given.items() if value is not None}
    taken = known if path is None else known & set(OF_A_RUN)
    kept = {name: value for name, value in (begun or {}).items() if name in taken}
    read = toml_files.read(file)
    for place, fields in ((str(file), read), (COMMAND_LINE, chosen)):
        _require_known(fields, known, f"{place}: the suite {suite}")
    if "seeds" in chosen and begun is None:
        chosen["most_seeds"] = {}  # who names the seeds means them at every size; those of a report keep their cells
    places = {**dict.fromkeys(read, str(file)), **dict.fromkeys(kept, REPORT), **dict.fromkeys(chosen, COMMAND_LINE)}
    try:
        config = msgspec.convert(read | kept | chosen, kind, str_keys=True)
    except msgspec.ValidationError as error:
        wrong = re.search(r"\$\.(\w+)", str(error))  # none where a field is missing
        name = wrong[1] if wrong else ""
        raise _error(places.get(name, str(file)), name, str(error)) from error
    _check(config, places)
    return config


def _require_known(fields: Iterable[str], known: Collection[str], whose: str) -> None:
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(known))}"
            raise UsageError(f"{whose} has no {name!r}", hint)


def _error(place: str, name: str, message: str) -> UsageError:
    elsewhere = {COMMAND_LINE: HINTS.get(name, ""), REPORT: "choose another --out"}
    return UsageError(f"{place}: {message}", elsewhere.get(place, "--config FILE names another config"))


def _check(config: SuiteConfig, places: Mapping[str, str]) -> None:
    for name, least in (("seeds", 0), ("sizes", 1)):
        numbers = getattr(config, name)
        if not numbers or min(numbers) < least:
            raise _error(places[name], name, f"{name} must be whole numbers from {least} on")
    for name, place in places.items():
        value = getattr(config, name)
        if isinstance(value, tuple) and len(set(value)) < len(value):
            twice = next(one for one in value if value.count(one) > 1)
            raise _error(place, name, f"{name} must be different, and {twice} is there twice")
    if list(config.sizes) != sorted(config.sizes):
        raise _error(places["sizes"], "sizes", "sizes must ascend")
