"""Edits scaled down or away by hand, where the facts are answered without them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from memctl.backends.protocol import Backend
from memctl.consolidation.stages import at_scale, by_subject, edit_scale, with_entries
from memctl.errors import UsageError
from memctl.evaluation.drift import measure_drift
from memctl.evaluation.recall import FactRecall, recall
from memctl.facts import LedgerEntry, with_recall
from memctl.progress import Progress
from memctl.settings import Settings
from memctl.store.lock import now
from memctl.store.records import Ledger, Snapshot
from memctl.store.store import Store
from memctl.wake.draft import Basis, Searched, commit, draft_of, named, writing
from memctl.wake.live import composition


@dataclass(frozen=True)
class Dissolved:
    """A fact whose edit was to be scaled down: as it was and as it is now, its recall before and after.

    Attributes:
        refused: Why the edit stays as it was; empty where it went down.
        after: Recall with the edit at the scale asked for, also where that was refused; None where nothing was measured.
    """

    before_entry: LedgerEntry
    entry: LedgerEntry
    before: FactRecall
    after: FactRecall | None = None
    refused: str = ""


@dataclass(frozen=True)
class DissolveReport:
    """All facts of the edits concerned, and the snapshot made (None for a dry run, or when nothing changed)."""

    facts: tuple[Dissolved, ...]
    snapshot: Snapshot | None


def chosen(store: Store, ids: Sequence[str], *, consolidated: bool, everything: bool) -> tuple[LedgerEntry, ...]:
    """The active facts that are meant: those named, those that the adapter carries, or all.

    Raises:
        UsageError: None of these was given, or more than one; or an id names no active fact, or several.
    """
    if sum((bool(ids), consolidated, everything)) != 1:
        raise UsageError("say which edits", "name facts, or give one of --consolidated and --all")
    head = store.head()
    ledger = store.ledger(head)
    if ids:
        found = tuple(ledger.by_prefix(id) for id in ids)
        if gone := [entry for entry in found if entry.state != "active"]:
            raise UsageError(f"{gone[0].id} ({gone[0].fact}) is {gone[0].state}: it has no edit", "`memctl facts` lists them")
        return found
    carried = head.adapter.facts if head.adapter else ()
    return tuple(entry for entry in ledger.active() if everything or entry.id in carried)


def dissolve(
    store: Store,
    backend: Backend,
    settings: Settings,
    ids: Collection[str],
    to: float,
    *,
    wait: float,
    force: bool,
    dry_run: bool,
    progress: Progress,
) -> DissolveReport:
    """Scales the edits of facts down to a scale; those of which a fact would be answered less often stay as they are.

    An edit takes all facts of its subject along. Edits at this scale or below are left alone.

    Args:
        ids: Whole ids of active facts.
        to: The scale, from 0.0, where the edit leaves the composition, to below 1.0.
        force: Scale down also where recall falls. A fact that nothing else carries never loses its edit.
    """
    with writing(store, wait, "dissolve", dry_run) as writer:
        head = store.head()
        ledger = store.ledger(head)
        own = [
            entries
            for entries in by_subject(ledger).values()
            if edit_scale(entries) > to and any(entry.id in ids for entry in entries)
        ]
        with backend.attached(composition(store, head)):
            before = _asked(backend, own, progress, "asking with the edits")
        carried = frozenset(head.adapter.facts if head.adapter else ())
        bare = {entry.id for entries in own for entry in entries if to == 0.0 and entry.id not in carried}
        going = [entries for entries in own if not any(entry.id in bare for entry in entries)]
        basis, searched = Basis.of(store, head), Searched()
        after: dict[str, FactRecall] = {}
        lost: set[str] = set()
        while True:  # an edit that stays may be what another fact was answered without: all are asked again
            draft = draft_of(basis, backend, settings.edit, _at(ledger, going, to, settings), progress, searched)
            with backend.attached(draft.composition):
                found = _asked(backend, going, progress, "asking without")
            after |= found
            fell = {id for id, one in found.items() if one.raw < before[id].raw or one.chat < before[id].chat}
            if force or not fell:
                break
            lost |= fell
            going = [entries for entries in going if fell.isdisjoint(entry.id for entry in entries)]
        snapshot = None
        if going and writer is not None:
            drift = measure_drift(backend, draft.composition, progress)
            facts = [entry.fact for entries in going for entry in entries]
            draft.ledger = _measured(draft.ledger, {entry.id: after[entry.id] for entries in going for entry in entries})
            snapshot = commit(writer, backend, draft, drift, f"dissolve {named(facts)} to {to:g}")
    reasons = dict.fromkeys(lost, "recall would fall") | dict.fromkeys(bare, "nothing else carries it: memctl sleep")
    went = {entry.id for entries in going for entry in entries}
    return DissolveReport(
        tuple(
            Dissolved(
                entry,
                draft.ledger.entries[entry.id],
                before[entry.id],
                after.get(entry.id),
                "" if entry.id in went else reasons.get(entry.id, "it shares its edit with a fact that needs it"),
            )
            for entries in own
            for entry in entries
        ),
        snapshot,
    )


def _at(ledger: Ledger, edits: Sequence[Sequence[LedgerEntry]], to: float, settings: Settings) -> Ledger:
    return with_entries(
        ledger,
        (at_scale(entry, min(entry.scale, to), settings.sleep.schedule) for entries in edits for entry in entries),
    )


def _measured(ledger: Ledger, found: Mapping[str, FactRecall]) -> Ledger:
    """The ledger with what facts recalled: one that was forced to be lost is degraded, and the next sleep mends it."""
    time = now()
    return with_entries(ledger, (with_recall(ledger.entries[id], time, one.raw, one.chat) for id, one in found.items()))


def _asked(backend: Backend, edits: Sequence[Sequence[LedgerEntry]], progress: Progress, what: str) -> dict[str, FactRecall]:
    entries = [entry for facts in edits for entry in facts]
    found = recall(backend, [entry.fact for entry in entries], progress, what)
    return {entry.id: one for entry, one in zip(entries, found, strict=True)}
