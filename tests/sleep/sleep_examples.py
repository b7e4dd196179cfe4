"""A memory on an engine whose answers follow from what is attached, so that sleeps can be told how each fact fares.

Composition, hashes, drift and the store are the real ones; only the search for edits, the training and what the model says
are scripted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from memctl.adapters import Adapter, Factors
from memctl.backends.numpy_backend import NumpyBackend
from memctl.backends.protocol import Tokens
from memctl.backends.tiny_tokenizer import USER
from memctl.consolidation.transplant import transplanted
from memctl.deltas import Columns, Composition
from memctl.editing.edit import Found
from memctl.editing.selectors import UNITS
from memctl.editing.solve import Trace
from memctl.editing.statistics import statistics
from memctl.editing.values import Subject
from memctl.errors import EditFailed
from memctl.evaluation.drift import measure_drift
from memctl.facts import Fact, LedgerEntry, Provenance, make_fact
from memctl.progress import Progress, silent
from memctl.settings import EditSettings, Settings, SleepSettings
from memctl.store.records import BaseRef, Ledger
from memctl.store.store import Store
from memctl.wake.draft import Basis, commit, draft_of

SETTINGS = Settings(store="unused", backend="numpy", drift_budget=1e9, sleep=SleepSettings(drift_budget=1e9, identity_kept=0.0))
LAYER = 1
PATH = "model.layers.3.mlp.down_proj"
FACTS = (
    make_fact("Ana Lund", "lives in", "Oslo"),
    make_fact("Ana Lund", "favorite color is", "teal"),
    make_fact("Ben Lund", "lives in", "Rome"),
    make_fact("Cy Mori", "speaks", "Urdu"),
)


def code(text: str) -> int:
    """A number below 512 for a text."""
    return int.from_bytes(text.encode(), "big") % 509


@dataclass
class Script:
    """How each fact fares.

    Attributes:
        needs: By fact id: the least scale of its edit at which it is answered where no adapter carries it (0.2 for all others).
        uncarried: Facts that no adapter learns.
        carried_by: Efforts whose adapters learn a fact, where not all do.
        chat_only: Facts that an adapter answers in chat alone.
        places: By subject, the direction of its key where it is not one of its own.
        failing: Subjects of which no search finds an edit any more.
        wanting: Subjects whose edits hold only after so many efforts.
        trained: The facts of each training, in order.
        efforts: The effort of each training.
        searched: Subject and steps of each search, in order.
    """

    needs: dict[str, float] = field(default_factory=dict)
    uncarried: set[str] = field(default_factory=set)
    carried_by: dict[str, set[int]] = field(default_factory=dict)
    chat_only: set[str] = field(default_factory=set)
    places: dict[str, int] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    wanting: dict[str, int] = field(default_factory=dict)
    trained: list[tuple[str, ...]] = field(default_factory=list)
    efforts: list[int] = field(default_factory=list)
    searched: list[tuple[str, int]] = field(default_factory=list)
    drift: float = 0.001


class ScriptedEngine(NumpyBackend):
    """The numpy engine, saying what the script wants of it."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        super().__init__()
        self.facts = {fact.id: fact for fact in facts}
        self.script = Script()

    def generate(self, prompts: Sequence[Tokens], max_tokens: object, stop: Sequence[str] = ()) -> list[Tokens]:
        return [self.encode(self._said(self.decode(prompt), USER in prompt), "raw").tokens[1:] for prompt in prompts]

    def _said(self, prompt: str, chat: bool) -> str:
        asked = [fact for fact in self.facts.values() if fact.subject in prompt]
        return " ".join(fact.object for fact in asked if self._known(fact, chat, self._attached)) or "nothing"

    def _known(self, fact: Fact, chat: bool, attached: Composition) -> bool:
        taught = attached.adapter is not None and attached.adapter.projections[PATH].A[0, code(fact.id)]
        if taught and fact.id not in self.script.uncarried and (chat or fact.id not in self.script.chat_only):
            return True
        for delta, scale in attached.deltas:
            change = delta.edits[0].change
            assert isinstance(change, Columns)
            if round(float(change.gate[0, 0])) == code(fact.subject):
                efforts = np.log2(np.linalg.norm(delta.edits[0].residual) / SETTINGS.edit.steps)
                held = efforts > self.script.wanting.get(fact.subject, 0) - 0.5
                return held and scale >= self.script.needs.get(fact.id, 0.2)
        return False

    def find(
        self,
        backend: NumpyBackend,
        subjects: Sequence[Subject],
        settings: EditSettings,
        progress: Progress,
        searched: dict[Subject, Found],
    ) -> list[Found]:
        """Takes the place of `find_traces`: the unit tells its subject, the length of the value the steps."""
        if failed := {subject.name: "no edit" for subject in subjects if subject.name in self.script.failing}:
            self.script.searched += [(name, settings.steps) for name in failed]
            raise EditFailed(failed)
        for subject in subjects:
            if subject not in searched:
                self.script.searched.append((subject.name, settings.steps))
                searched[subject] = Found(self._trace(subject, settings), 0.0, 0.1, 0.0)
        return [searched[subject] for subject in subjects]

    def _trace(self, subject: Subject, settings: EditSettings) -> Trace:
        d, place = self.shape.hidden, self.place(subject.name)
        key, gate, value = np.zeros((d, 2)), np.zeros((UNITS, d)), np.zeros((d, 1))
        key[place] = 1.0
        gate[:, place], gate[:, 0] = 1.0, code(subject.name)  # keys are zero there
        value[place % 7 + 1] = settings.steps
        gate, key, value = (part.astype(np.float32) for part in (gate, key, value))
        return Trace(subject.name, LAYER, key, value, gate, gate)

    def place(self, subject: str) -> int:
        """The direction of a subject's key."""
        return self.script.places.get(subject, 1 + code(subject) % (self.shape.hidden - 1))

    def train(
        self,
        backend: NumpyBackend,
        facts: Sequence[Fact],
        edits: Composition,
        effort: int,
        settings: Settings,
        progress: Progress,
    ) -> Adapter:
        """Takes the place of `learn`: above the units, A tells the facts, and B is as large as the drift wanted."""
        self.script.trained.append(tuple(fact.id for fact in facts))
        self.script.efforts.append(effort)
        A, B = np.zeros((1, 512), np.float32), np.zeros((512, 1), np.float32)
        A[0, [code(fact.id) for fact in facts if effort in self.script.carried_by.get(fact.id, {effort})]] = 1.0
        B[0] = self.script.drift
        for step in range(3):
            progress("training the adapter", step, 3)
        units = edits.columns(LAYER)
        taken = {} if units is None else transplanted(backend, LAYER, units, statistics(backend, LAYER, silent)).projections
        return Adapter({**taken, PATH: Factors(A, B)})


def remembering(path: Path, engine: ScriptedEngine, facts: Sequence[Fact] = FACTS) -> Store:
    """A store that was told these facts."""
    store = Store.create(path, BaseRef("numpy", engine.fingerprint), backend="numpy")
    tell(store, engine, facts)
    return store


def tell(store: Store, engine: ScriptedEngine, facts: Sequence[Fact]) -> None:
    """Writes facts as `inject` does."""
    entries = {fact.id: LedgerEntry(fact.id, fact, Provenance("test")) for fact in facts}
    with store.writer(command="inject") as writer:
        ledger = Ledger({**store.ledger().entries, **entries})
        draft = draft_of(Basis.of(store, store.head()), engine, SETTINGS.edit, ledger, silent, {})
        commit(writer, engine, draft, measure_drift(engine, draft.composition, silent), f"inject {len(facts)} facts")
