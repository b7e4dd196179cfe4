"""Ways to give a model facts that are told one at a time: ours, and those to compare it with."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from memctl.backends.protocol import PRISTINE, Backend
from memctl.bench.config import AtLeastOne, SuiteConfig
from memctl.bench.embeddings import load_embedder, require_embedder
from memctl.bench.in_prompt import InPrompt, Retrieval
from memctl.bench.sequential import ALPHAEDIT, MEMIT, REFERENCE, SequentialMemit, SequentialSettings, require_layers
from memctl.deltas import Composition, Delta
from memctl.editing.edit import edited_layer
from memctl.editing.first_guess import first_guess
from memctl.editing.statistics import covariance, statistics
from memctl.facts import Fact, Mode, Provenance
from memctl.progress import Progress, silent
from memctl.settings import Settings
from memctl.store.records import BaseRef
from memctl.store.store import Store
from memctl.wake.fact_record import Told
from memctl.wake.inject import inject
from memctl.wake.live import composition, live

Method = Literal["memctl", "joint-memit", "memit", "alphaedit", "reference", "in-prompt", "retrieval"]

ABOUT: dict[Method, str] = {
    "memctl": "our edit with added units, as `inject --force` writes it",
    "joint-memit": "our edit without units: plain MEMIT in one layer with our cues and values, solved jointly over all facts",
    "memit": "MEMIT as published (batches of 1, incremental, several layers)",
    "alphaedit": "AlphaEdit as published (the same, in the null space of ordinary text)",
    "reference": "MEMIT as the reference system has it (key at the last prompt token, first target token, diagonal covariance)",
    "in-prompt": "no edit: all facts in the prompt, as many as fit",
    "retrieval": "no edit: the facts nearest to the prompt in it, by sentence embeddings",
}

KEPT_HISTORY = 64
"""Facts after which a store's older snapshots are removed: the history of a thousand writes is not what is measured."""


class MethodsConfig(SuiteConfig, frozen=True, kw_only=True):
    """What the methods are told.

    Attributes:
        methods: Which ones, in order.
        at_once: Subjects that are told of in one call, which costs less; of our memory no bit depends on it, and the edits
            that are made one after the other still are.
        memit, alphaedit, reference: Settings of the sequential edits.
        window: Tokens of facts that a prompt takes.
        nearest: Facts that retrieval puts into a prompt.
    """

    methods: tuple[Method, ...] = ("memctl",)
    at_once: AtLeastOne = 1
    memit: SequentialSettings = MEMIT
    alphaedit: SequentialSettings = ALPHAEDIT
    reference: SequentialSettings = REFERENCE
    window: AtLeastOne = 2048
    nearest: AtLeastOne = 5

    @property
    def how_told(self) -> str:
        """For people."""
        return "one at a time" if self.at_once == 1 else f"{self.at_once} at a time"


def described(config: MethodsConfig) -> dict[str, Any]:
    """The config as a report gives it: without the settings of methods that are not used."""
    found: dict[str, Any] = msgspec.to_builtins(config, str_keys=True)
    used = {"window": ("in-prompt",), "nearest": ("retrieval",)}
    used |= {name: (name,) for name in ("memit", "alphaedit", "reference")}
    return {name: value for name, value in found.items() if set(used.get(name, config.methods)) & set(config.methods)}


class Learner(Protocol):
    """One way to give a model facts.

    Attributes:
        refused: Ids of facts that it could not take in, or whose pre-flight refuses them without `--force`; they count as told.
    """

    refused: set[str]

    @property
    def memories(self) -> Sequence[tuple[str, Delta]]:
        """What it attaches, by subject; empty where it keeps nothing apart by subject."""

    def tell(self, *facts: Fact) -> int:
        """Takes facts in together; how many of them it did not have."""

    @property
    def composition(self) -> Composition:
        """What it attaches to the model."""

    def put(self, prompts: Sequence[tuple[Mode, str]]) -> list[tuple[Mode, str]]:
        """The prompts as the model gets to see them."""


def require(config: MethodsConfig) -> None:
    """Says what a method lacks before a model is loaded.

    Raises:
        BackendMissing: An extra is not installed.
    """
    if "retrieval" in config.methods:
        require_embedder()


def begin(
    method: Method, backend: Backend, settings: Settings, config: MethodsConfig, work: Path, progress: Progress
) -> Learner:
    """A learner that has been told nothing, or, of a run that goes on, what its store in the work folder holds.

    What is measured once per base model is measured here, so that no fact pays for it.
    """
    if method in ("memctl", "joint-memit"):
        edit = settings.edit if method == "memctl" else msgspec.structs.replace(settings.edit, units=0)
        return Stored(backend, msgspec.structs.replace(settings, edit=edit), work, progress)
    if method == "in-prompt":
        return InPrompt(backend, config.window)
    if method == "retrieval":
        return Retrieval(backend, config.window, config.nearest, load_embedder())
    chosen = {"memit": config.memit, "alphaedit": config.alphaedit, "reference": config.reference}[method]
    require_layers(chosen, backend, method)
    return SequentialMemit(backend, chosen, progress)


def prepare(backend: Backend, settings: Settings, progress: Progress) -> None:
    """Measures what edits need to know of a base model once, so that no fact pays for it."""
    layer = edited_layer(backend, settings.edit)
    first_guess(backend, layer, float(statistics(backend, layer, progress).output_norm[0]), progress)
    if not settings.edit.units:
        covariance(backend, layer, progress)


class Fixed:
    """A composition that was made elsewhere."""

    def __init__(self, composition: Composition) -> None:
        self.composition = composition
        self.memories: tuple[tuple[str, Delta], ...] = ()
        self.refused: set[str] = set()

    def tell(self, *facts: Fact) -> int:
        return 0

    def put(self, prompts: Sequence[tuple[Mode, str]]) -> list[tuple[Mode, str]]:
        return list(prompts)


UNEDITED = Fixed(PRISTINE)


class Stored:
    """Facts written into a store of its own; what the folder holds already stays."""

    def __init__(self, backend: Backend, settings: Settings, folder: Path, progress: Progress) -> None:
        self.backend, self.settings = backend, settings
        prepare(backend, settings, progress)
        if (folder / "HEAD").is_file():
            self.store = Store.open(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)  # a store that was being made when the run ended
            self.store = Store.create(folder, BaseRef("bench", backend.fingerprint), backend=settings.backend)
        self._known = set(self.store.ledger().entries)
        self.refused: set[str] = set()

    def tell(self, *facts: Fact) -> int:
        told = [Told(fact, Provenance(source="bench")) for fact in facts if fact.id not in self._known]
        if not told:
            return 0
        report = inject(self.store, self.backend, self.settings, told, wait=0, force=True, dry_run=False, progress=silent)
        for outcome in report.outcomes:
            if outcome.status == "rejected" or (outcome.preflight and outcome.preflight.refused):
                self.refused.add(outcome.fact.id)
        kept, self._known = len(self._known) // KEPT_HISTORY, self._known.union(one.fact.id for one in told)
        if len(self._known) // KEPT_HISTORY > kept:
            with self.store.writer(command="gc") as writer:
                writer.gc(keep_last=1)
        return len(told)

    @property
    def composition(self) -> Composition:
        return composition(self.store)

    @property
    def memories(self) -> list[tuple[str, Delta]]:
        return [(ref.subject, delta) for ref, delta in live(self.store)]

    def put(self, prompts: Sequence[tuple[Mode, str]]) -> list[tuple[Mode, str]]:
        return list(prompts)
