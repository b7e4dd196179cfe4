"""A suite's settings: a TOML file of `configs/` or the user's own, with what the command line replaces."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from memctl import toml_files
from memctl.errors import UsageError
from memctl.settings import shipped

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]


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


def read_config(kind: type[Config], suite: str, path: Path | None, given: Mapping[str, Any]) -> Config:
    """The settings of a suite.

    Args:
        path: A file in place of the shipped `bench-SUITE.toml`.
        given: Fields from the command line, which go before the file's; None means not given.

    Raises:
        UsageError: The file is missing or no TOML, or a field is unknown, missing or wrong; names file and field.
    """
    file = path or shipped(f"bench-{suite}.toml")
    if file is None or not file.is_file():
        raise UsageError(f"there is no config {path or f'bench-{suite}.toml'}", "--config FILE names one")
    fields = toml_files.read(file)
    chosen = {name: value for name, value in given.items() if value is not None}
    known = {field.name for field in msgspec.structs.fields(kind)}
    for place, names in ((str(file), fields), ("the command line", chosen)):
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(known))}"
                raise UsageError(f"{place}: the suite {suite} has no {name!r}", hint)
    if "seeds" in chosen:
        chosen["most_seeds"] = {}  # who names the seeds means them at every size
    try:
        config = msgspec.convert(fields | chosen, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise UsageError(f"{file}: {error}", "--config FILE names another config") from error
    _check(config, file)
    return config


def _check(config: SuiteConfig, file: Path) -> None:
    for name, numbers, least in (("seeds", config.seeds, 0), ("sizes", config.sizes, 1)):
        if not numbers or min(numbers) < least or len(set(numbers)) < len(numbers):
            raise UsageError(f"{file}: {name} must be different whole numbers from {least} on", f"--{name} 1,2,3")
    if list(config.sizes) != sorted(config.sizes):
        raise UsageError(f"{file}: sizes must ascend", "--sizes 1,10,36")
