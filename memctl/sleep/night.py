"""What every step of a sleep has at hand: the store as it was, the engine, and the workroom that outlives a kill."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec

from memctl import __version__
from memctl.adapters import Adapter
from memctl.backends.protocol import Backend
from memctl.consolidation.stages import renamed
from memctl.consolidation.transplant import choices, room
from memctl.deltas import Columns, Composition
from memctl.editing import first_guess, reference, statistics
from memctl.editing.selectors import UNITS
from memctl.evaluation.recall import FactRecall, recall
from memctl.facts import LedgerEntry
from memctl.progress import Progress
from memctl.settings import Settings
from memctl.sleep.state import State
from memctl.store.encoding import sha256
from memctl.store.records import AdapterRef, Ledger, Snapshot
from memctl.store.store import Store
from memctl.wake.draft import Basis, Draft, Searched, draft_of
from memctl.wake.live import composed, read_adapter, read_delta

STATE, MENDED = "state", "mended"
"""The states that are kept: the newest, and the one before there was an adapter, from which another one can be tried."""


class OutOfTime(Exception):
    """The sleep has used up the time it was given; what it has worked out is kept."""


@dataclass
class Night:
    """One sleep at work.

    Attributes:
        head, old: The snapshot and the ledger that it began with.
        wanted: Ids of the facts to consolidate; None for all.
        searched: Edits found since the process began.
    """

    store: Store
    head: Snapshot
    old: Ledger
    backend: Backend
    settings: Settings
    progress: Progress
    wanted: frozenset[str] | None = None
    searched: Searched = field(default_factory=dict)

    @property
    def room(self) -> int | None:
        """How many subjects the base has room for in an adapter; None for any number."""
        return room(self.backend) // UNITS if self.settings.edit.units else None

    def choices(self, entries: tuple[LedgerEntry, ...]) -> int:
        """How many different sets of neurons an adapter of these facts may have."""
        return choices(self.backend, UNITS * len({entry.fact.subject for entry in entries}))

    def saying(self, progress: Progress) -> "Night":
        """The same night with another progress."""
        return replace(self, progress=progress)

    def read(self, sha: str) -> bytes:
        """The bytes of an object, from the workroom or the store."""
        found = self.store.workroom.get(sha)
        return self.store.read_object(sha) if found is None else found

    def keep(self, data: bytes) -> str:
        """Keeps an object in the workroom, unless HEAD has it; returns its SHA-256."""
        sha = sha256(data)
        if sha not in self.head.objects and self.store.workroom.get(sha) is None:
            self.store.workroom.put(sha, data)
        return sha

    def composition(self, state: State) -> Composition:
        """What a state would attach to the base."""
        learned = None if state.adapter is None else read_adapter(self.read, state.adapter)
        return composed([(ref, read_delta(self.read, ref)) for ref in state.deltas], learned)

    def draft(self, state: State, ledger: Ledger) -> Draft:
        """The memory of another ledger, from what the state and the history have at hand."""
        here = Basis((*state.deltas, *self.head.deltas), state.adapter, self.read)
        return draft_of(here, self.backend, self.settings.edit, ledger, self.progress, self.searched)

    def settled(self, state: State, draft: Draft) -> State:
        """The state with the memory of a draft, whose objects are kept."""
        refs = [
            msgspec.structs.replace(ref, object=self.keep(delta.to_bytes()))
            for ref, delta in zip(draft.refs, draft.deltas, strict=True)
        ]
        if draft.adapter is not None:
            self.keep(draft.adapter.to_bytes())
        return msgspec.structs.replace(state, ledger=draft.ledger, deltas=tuple(refs), adapter=draft.adapter_ref)

    def with_adapter(self, state: State, adapter: Adapter, facts: tuple[str, ...], mark: str, edits: Draft) -> State:
        """The state with an adapter that carries these facts, with their edits taken over."""
        taken = tuple(
            msgspec.structs.replace(ref, object=self.keep(delta.to_bytes()), scale=0.0)
            for ref, delta in zip(edits.refs, edits.deltas, strict=True)
            if isinstance(delta.edits[0].change, Columns)
        )
        ref = AdapterRef(facts, self.keep(adapter.to_bytes()), mark, taken, self.room)
        state = msgspec.structs.replace(state, adapter=ref)
        return self.settled(state, self.draft(state, state.ledger))

    def marked(self, state: State, mark: str) -> State:
        """The state with another mark on its adapter, under which what was true of a fact beside it goes on being true."""
        before = state.adapter
        if before is None or before.settings == mark:
            return state
        after = msgspec.structs.replace(before, settings=mark)
        ledger = renamed(state.ledger, before.trained, after.trained)
        return msgspec.structs.replace(state, ledger=ledger, adapter=after)

    def ask(
        self, composition: Composition, entries: tuple[LedgerEntry, ...], ledger: Ledger, what: str
    ) -> dict[str, FactRecall]:
        """Recall of facts by id, with a composition attached.

        Args:
            ledger: With the facts beside them: an answer may name those first.
        """
        ids = {entry.id for entry in entries}
        beside = [entry.fact for entry in ledger.active() if entry.id not in ids]
        with self.backend.attached(composition):
            found = recall(self.backend, [entry.fact for entry in entries], self.progress, what, beside)
        return {entry.id: one for entry, one in zip(entries, found, strict=True)}

    # Work that outlives a kill

    def begun(self) -> State:
        """The state that an earlier sleep with the same beginning was killed in, or the first one."""
        key = self._key()
        if (found := self._kept(STATE, key)) is not None:
            return found
        self.store.workroom.clear()
        return State(key, self.old, self.head.deltas, self.head.adapter, journal=self.head.journal)

    def tried_again(self, refused: State) -> State | None:
        """The state before a refused adapter, to try another one from; None where all were refused, or none was new."""
        before = self._kept(MENDED, refused.key)
        if before is None or refused.adapter is None or before.adapter == refused.adapter:
            return None
        if not refused.efforts:
            return None
        state = msgspec.structs.replace(before, efforts=refused.efforts)
        self.save(state)
        self.save(state, MENDED)
        return state

    def _kept(self, name: str, key: str) -> State | None:
        data = self.store.workroom.get(name)
        try:
            found = None if data is None else msgspec.json.decode(data, type=State)
        except msgspec.MsgspecError:
            return None
        return found if found is not None and found.key == key and self._whole(found) else None

    def save(self, state: State, name: str = STATE) -> None:
        """Keeps a state for the next sleep, should this one be killed."""
        self.store.workroom.put(name, msgspec.json.encode(state))

    def _key(self) -> str:
        """Hash of all that the work depends on."""
        program = (__version__, first_guess.FORMAT, reference.FORMAT, statistics.FORMAT)
        told = (sorted(self.wanted or ()), len(self.store.journal.read()))
        parts = (program, self.head.id, self.settings, *told, self.backend.hardware)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()

    def _whole(self, state: State) -> bool:
        """Whether every object of a state is in the store or the workroom."""
        return all(sha in self.head.objects or self.store.workroom.get(sha) is not None for sha in state.objects)


def watched(progress: Progress, prefix: str, late: Callable[[], bool]) -> Progress:
    """Progress that says which step it is, and ends the work once it is late."""

    def say(what: str, done: int, total: int) -> None:
        if late():
            raise OutOfTime
        progress(f"{prefix} {what}", done, total)

    return say
