"""`memctl sleep`: the eight steps that take facts from their edits into the adapter."""

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from typer import Option

from memctl.cli.app import Run
from memctl.cli.night_log import log_night
from memctl.cli.options import DryRun, LockWait
from memctl.cli.views import plural, recall_text
from memctl.errors import MemctlError, UsageError

if TYPE_CHECKING:
    from memctl.sleep.pipeline import Slept
    from memctl.sleep.plan import Plan

STYLES = {"passed": "green", "failed": "yellow", "not asked": "dim"}


def sleep(
    run: Run,
    facts: Annotated[
        list[str] | None,
        Option("--facts", metavar="IDS", help="Consolidate only these, ids with commas, and their subjects' other facts."),
    ] = None,
    if_needed: Annotated[bool, Option("--if-needed", help="Only if pressure is high, or told facts wait.")] = False,
    max_time: Annotated[
        float | None, Option("--max-time", metavar="SECONDS", min=0.0, help="Stop after so long; the next sleep goes on.")
    ] = None,
    lock_wait: LockWait = 0.0,
    dry_run: DryRun = False,
) -> int:
    """Audits and mends the edits, takes them over into the adapter, and dissolves the edits that are no longer needed."""
    from memctl.sleep.plan import plan

    store, settings = run.store, run.effective.settings
    ids = None if facts is None else _named(run, ",".join(facts))
    found = plan(store, settings, ids)
    if dry_run:
        return _plan(run, found, _reason_to_stay(found, if_needed))
    run.out.hush()
    if _reason_to_stay(found, if_needed) and _stayed(run, ids, lock_wait, if_needed):
        return 0
    from memctl.sleep.pipeline import sleep as go_to_sleep

    try:
        slept = go_to_sleep(store, run.backend, settings, ids=ids, wait=lock_wait, max_time=max_time, progress=run.out.progress)
    except BaseException as error:
        log_night(store.path, "stopped", f"{type(error).__name__}: {error}")
        raise
    return _tell(run, slept)


def _named(run: Run, text: str) -> list[str]:
    ledger = run.store.ledger()
    found = [ledger.by_prefix(id.strip()) for id in text.split(",") if id.strip()]
    if gone := [entry for entry in found if entry.state != "active"]:
        raise UsageError(f"{gone[0].id} ({gone[0].fact}) is {gone[0].state}", "`memctl facts` lists those that are active")
    if not found:
        raise UsageError("--facts names no fact", "give ids, separated by commas")
    return [entry.id for entry in found]


def _reason_to_stay(found: "Plan", if_needed: bool) -> str:
    """Why there is nothing to do; empty where there is."""
    if found.idle:
        return "everything is at rest"
    calm = if_needed and found.pressure.advice != "sleep" and not found.waiting
    return f"the pressure is {found.pressure.value:.2f}" if calm else ""


def _plan(run: Run, found: "Plan", stays: str) -> int:
    work = [
        f"curate       {plural(found.waiting, 'fact')} waiting in the journal",
        f"maintain     {found.degraded} degraded when last asked",
        "consolidate  " + ("an adapter is made" if found.trains else "the adapter carries these facts already"),
        f"scale down   {found.edits} edits; facts at the stages 0 to 3: {', '.join(map(str, found.stages))}",
        f"pressure     {found.pressure.value:.2f}",
    ]
    said = f"nothing to do: {stays}" if stays else "\n".join(work)
    record = {"result": "dry-run", "plan": msgspec.to_builtins(found), "would_sleep": not stays}
    run.out.summary(record, said)
    return 0


def _stayed(run: Run, ids: list[str] | None, wait: float, if_needed: bool) -> bool:
    """Notes that the night was quiet; False where another writer, who was waited for, has left something to do."""
    from memctl.sleep.plan import plan
    from memctl.store.lock import now
    from memctl.store.workroom import LastSleep

    try:
        with run.store.writer(wait, "sleep"):
            why = _reason_to_stay(plan(run.store, run.effective.settings, ids), if_needed)
            if not why:
                return False
            run.store.workroom.ended(LastSleep(now(), 0, "noop", run.store.head().id, why))
    except MemctlError as error:
        log_night(run.store.path, "stopped", error.message)
        raise
    log_night(run.store.path, "noop", why)
    run.out.summary({"result": "noop", "reason": why, "gate": None, "snapshot": None}, f"nothing to do: {why}")
    return True


def _tell(run: Run, slept: "Slept") -> int:
    report = slept.report
    seconds = sum(step.seconds for step in report.steps)
    detail = slept.refusal.message if slept.refusal else "; ".join(step.said for step in report.steps)
    log_night(run.store.path, slept.result, f"{seconds:.1f} s; {detail}")  # first: whoever reads the output may hang up
    for number, step in enumerate(report.steps, start=1):
        record: dict[str, Any] = msgspec.to_builtins(step)
        run.out.record("step", record, f"{number}. {step.name:<12} {step.seconds:>7.1f} s  {step.said}")
    for fact in report.facts:
        moved = f"stage {fact.stage_before} → {fact.stage}" if fact.stage != fact.stage_before else f"stage {fact.stage}"
        recall = "not asked" if fact.raw is None or fact.chat is None else recall_text(fact.raw, fact.chat)
        text = f"{fact.id}  {moved}  scale {fact.scale:g}  recall {recall}  {fact.gate}"
        run.out.record("fact", msgspec.to_builtins(fact), text, STYLES[fact.gate])
    record = {
        "result": slept.result,
        "gate": slept.refusal.message if slept.refusal else None,
        "drift": report.after.drift if report.after else None,
        "facts": len(report.facts),
        "seconds": round(seconds, 3),
        "snapshot": slept.snapshot.id if slept.snapshot else None,
        "composition": slept.snapshot.composition if slept.snapshot else None,
    }
    if slept.refusal:
        run.out.error(slept.refusal)
        run.out.summary(record)
        return slept.refusal.exit_code
    said = {"done": "done", "noop": "nothing to change", "interrupted": "out of time: the next sleep goes on from here"}
    run.out.summary(record, f"{said[slept.result]}; {plural(len(report.facts), 'fact')}, {seconds:.1f} s")
    return 0
