"""`sleep`: the eight steps in their order, from where an earlier one was killed, with one commit at the end.

Until the commit nothing is visible to readers. After each step its state lies in the workroom, so that the next sleep goes on
from there if HEAD, the settings, the journal and the facts asked for are the same, and otherwise starts over.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Literal

import msgspec

from memctl.backends.protocol import Backend
from memctl.consolidation.stages import whole_subjects
from memctl.editing.fold import weight_hashes
from memctl.errors import GateRefused, MemctlError
from memctl.facts import with_recall
from memctl.progress import Progress
from memctl.settings import Settings
from memctl.sleep import steps
from memctl.sleep.maintain import maintain
from memctl.sleep.night import MENDED, Night, OutOfTime, watched
from memctl.sleep.state import STEPS, SleepReport, State, Step, StepName, report_of
from memctl.store.lock import now
from memctl.store.records import Ledger, Snapshot
from memctl.store.store import Store
from memctl.store.workroom import LastSleep
from memctl.store.writer import Writer

BEFORE_ADAPTER: StepName = "maintain"

Result = Literal["done", "noop", "refused", "interrupted"]

WORK: dict[StepName, steps.Step] = {
    "health": steps.health,
    "curate": steps.curate,
    "audit": steps.audit,
    "maintain": maintain,
    "consolidate": steps.consolidate,
    "scale": steps.scale_down,
    "validate": steps.validate,
}
"""What each step does; the last one, the report, is the commit."""


@dataclass(frozen=True)
class Slept:
    """How a sleep ended.

    Attributes:
        snapshot: Made by it; None where nothing was changed.
        refusal: The gate that it was abandoned at.
        reason: Why nothing was to be done, or where it stopped; empty where it came to its end.
    """

    result: Result
    report: SleepReport
    snapshot: Snapshot | None = None
    refusal: GateRefused | None = None
    reason: str = ""


def sleep(
    store: Store,
    engine: Callable[[], Backend],
    settings: Settings,
    *,
    ids: Sequence[str] | None,
    wait: float,
    max_time: float | None,
    progress: Progress,
    at_rest: Callable[[], str] = str,
) -> Slept:
    """Goes through the steps and commits what they came to.

    Args:
        engine: Opens the engine, once the lock is held and something is to be done.
        ids: Whole ids of the facts to consolidate, which take all facts of their subjects along; None for all.
        max_time: Seconds after which it stops, the loading of the model counted; the next sleep goes on from there.
        at_rest: Why nothing is to be done, empty where something is; asked once nobody else can change the store.

    Raises:
        StoreLocked: Another writer holds the store.
    """
    with store.writer(wait, "sleep") as writer:
        begun = monotonic()
        before = store.layout.read_head()
        try:
            if reason := at_rest():
                slept = Slept("noop", SleepReport((), (), None, None), reason=reason)
            else:
                head = store.head()
                ledger = store.ledger(head)
                wanted = None if ids is None else whole_subjects(ledger, ids)
                night = Night(store, head, ledger, engine(), settings, progress, wanted)
                slept = _through(night, writer, lambda: max_time is not None and monotonic() - begun > max_time)
        except BaseException as error:
            code = getattr(error, "exit_code", 1 if isinstance(error, Exception) else 130)
            with suppress(MemctlError):
                if store.layout.read_head() != before:  # the change stands, whatever came after it
                    _note(store, code, "done", str(error), all_facts=ids is None)
                else:
                    _note(store, code, "failed" if isinstance(error, Exception) else "interrupted", str(error))
            raise
        code = GateRefused.exit_code if slept.refusal else 0
        detail = slept.refusal.message if slept.refusal else slept.reason
        through = slept.result in ("done", "noop") and not slept.reason
        _note(store, code, slept.result, detail, all_facts=through and ids is None)
    return slept


def _note(store: Store, code: int, result: str, detail: str, *, all_facts: bool = False) -> None:
    """Notes how the sleep has ended; where that cannot be written, the memory is no worse for it.

    Args:
        all_facts: Whether it went through all its steps, over all facts.
    """
    time = now()
    with suppress(MemctlError, OSError):
        store.workroom.ended(LastSleep(time, code, result, store.layout.read_head(), detail, time if all_facts else ""))


def _through(night: Night, writer: Writer, late: Callable[[], bool]) -> Slept:
    state: State | None = night.begun()
    while state is not None:
        last, in_time = _worked(night, state, late)
        if not in_time:
            at = len(last.steps) + 1
            reason = f"out of time in step {at} of {len(STEPS)}, {STEPS[at - 1]}"
            if len(last.steps) == len(state.steps):
                reason += ", which takes longer than there was: give more --max-time"
            return Slept("interrupted", report_of(last, night.old), reason=reason)
        refused = steps.refusal(last, night.settings.sleep)
        if not refused:
            return _commit(night, writer, last)
        state = night.tried_again(last)
    return Slept("refused", report_of(last, night.old), refusal=refused)  # its work stays: the same is refused at once


def _worked(night: Night, state: State, late: Callable[[], bool]) -> tuple[State, bool]:
    """The state after all steps, or after those that there was time for."""
    try:
        for number, name in enumerate(STEPS[:-1], start=1):
            if number <= len(state.steps):
                continue
            if late():
                raise OutOfTime
            started = monotonic()
            progress = watched(night.progress, f"{number}/{len(STEPS)}", late)
            state, said, counts = WORK[name](night.saying(progress), state)
            step = Step(name, round(monotonic() - started, 3), said, counts)
            state = msgspec.structs.replace(state, steps=(*state.steps, step))
            if name == BEFORE_ADAPTER:  # first: killed between the two, maintenance is done again, and comes to the same
                night.save(state, MENDED)
            night.save(state)
    except OutOfTime:
        return state, False
    return state, True


def _commit(night: Night, writer: Writer, state: State) -> Slept:
    """8: the report, and everything made current at once; a sleep that changed nothing leaves no trace in the memory."""
    head = night.head
    report = report_of(state, night.old)
    snapshot = None
    if (state.ledger, state.deltas, state.adapter, state.journal) != (night.old, head.deltas, head.adapter, head.journal):
        for sha in sorted(state.objects):
            writer.put(night.read(sha), ".safetensors")
        after = state.after
        snapshot = writer.commit(
            ledger=_asked(state),
            deltas=state.deltas,
            adapter=state.adapter,
            weights=weight_hashes(night.backend, night.composition(state)),
            metrics={} if after is None else msgspec.structs.asdict(after),
            message=state.steps[STEPS.index("scale")].said,
            report=writer.put(msgspec.json.format(msgspec.json.encode(report)) + b"\n", ".json"),
            journal=state.journal,
        )
    with suppress(MemctlError, OSError):  # the change stands; what is left of the work is of another beginning from now on
        night.store.workroom.clear()
    return Slept("noop" if snapshot is None else "done", report, snapshot)


def _asked(state: State) -> Ledger:
    """The ledger with what every fact recalled in the end."""
    time = now()
    entries = dict(state.ledger.entries)
    for id, found in state.final.items():
        entries[id] = with_recall(entries[id], time, found.raw, found.chat)
    return Ledger(entries)
