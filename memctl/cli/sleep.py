"""`memctl sleep`: the eight steps that take facts from their edits into the adapter."""

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from typer import Option

from memctl.cli.app import Run
from memctl.cli.night_log import log_night
from memctl.cli.options import DryRun, LockWait
from memctl.cli.views import plural, recall_text
from memctl.errors import UsageError

if TYPE_CHECKING:
    from memctl.sleep.pipeline import Slept
    from memctl.sleep.plan import Plan

STYLES = {"passed": "green", "failed": "yellow", "not asked": "dim"}


def sleep(
    run: Run,
    facts: Annotated[str | None, Option("--facts", metavar="IDS", help="Consolidate only these: ids with commas.")] = None,
    if_needed: Annotated[bool, Option("--if-needed", help="Only where the pressure calls for it.")] = False,
    max_time: Annotated[
        float | None, Option("--max-time", metavar="SECONDS", min=0.0, help="Stop after so long; the next sleep goes on.")
    ] = None,
    lock_wait: LockWait = 0.0,
    dry_run: DryRun = False,
) -> int:
    """Audits and mends the edits, takes them over into the adapter, and dissolves the edits that are no longer needed."""
    from memctl.sleep.plan import plan

    store, settings = run.store, run.effective.settings
    ids = None if facts is None else _named(run, facts)
    found = plan(store, settings)
    calm = if_needed and found.pressure.advice != "sleep"
    if dry_run:
        return _plan(run, found, calm)
    run.out.hush()
    if found.idle or calm:
        return _nothing(run, lock_wait, f"the pressure is {found.pressure.value:.2f}" if calm else "everything is at rest")
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


def _plan(run: Run, found: "Plan", calm: bool) -> int:
    work = [
        f"curate       {plural(found.waiting, 'fact')} waiting in the journal",
        f"maintain     {found.degraded} degraded when last asked",
        "consolidate  " + ("an adapter is made" if found.trains else "the adapter carries these facts already"),
        f"scale down   {found.edits} edits; facts at the stages 0 to 3: {', '.join(map(str, found.stages))}",
        f"pressure     {found.pressure.value:.2f}",
    ]
    said = "nothing to do" if found.idle or calm else "\n".join(work)
    record = {"result": "dry-run", "plan": msgspec.to_builtins(found), "would_sleep": not (found.idle or calm)}
    run.out.summary(record, said)
    return 0


def _nothing(run: Run, wait: float, why: str) -> int:
    """Notes that the night was quiet, where nobody else is writing."""
    from memctl.store.lock import now
    from memctl.store.workroom import LastSleep

    head = run.store.head().id
    with run.store.writer(wait, "sleep"):
        run.store.workroom.ended(LastSleep(now(), 0, "noop", head, why))
    log_night(run.store.path, "noop", why)
    run.out.summary({"result": "noop", "reason": why, "gate": None, "snapshot": None}, f"nothing to do: {why}")
    return 0


def _tell(run: Run, slept: "Slept") -> int:
    report = slept.report
    for number, step in enumerate(report.steps, start=1):
        record: dict[str, Any] = msgspec.to_builtins(step)
        run.out.record("step", record, f"{number}. {step.name:<12} {step.seconds:>7.1f} s  {step.said}")
    for fact in report.facts:
        moved = f"stage {fact.stage_before} → {fact.stage}" if fact.stage != fact.stage_before else f"stage {fact.stage}"
        text = f"{fact.id}  {moved}  scale {fact.scale:g}  recall {recall_text(fact.raw, fact.chat)}  {fact.gate}"
        run.out.record("fact", msgspec.to_builtins(fact), text, STYLES[fact.gate])
    seconds = sum(step.seconds for step in report.steps)
    record = {
        "result": slept.result,
        "gate": slept.refusal.message if slept.refusal else None,
        "drift": report.after.drift if report.after else None,
        "facts": len(report.facts),
        "seconds": round(seconds, 3),
        "snapshot": slept.snapshot.id if slept.snapshot else None,
        "composition": slept.snapshot.composition if slept.snapshot else None,
    }
    detail = slept.refusal.message if slept.refusal else "; ".join(step.said for step in report.steps)
    log_night(run.store.path, slept.result, f"{seconds:.1f} s; {detail}")
    if slept.refusal:
        run.out.error(slept.refusal)
        run.out.summary(record)
        return slept.refusal.exit_code
    said = {"done": "done", "noop": "nothing to change", "interrupted": "out of time: the next sleep goes on from here"}
    run.out.summary(record, f"{said[slept.result]}; {plural(len(report.facts), 'fact')}, {seconds:.1f} s")
    return 0
