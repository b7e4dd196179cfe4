"""`memctl sleep`: the eight steps that take facts from their edits into the adapter."""

from typing import TYPE_CHECKING, Annotated

import msgspec
from typer import Option

from memctl.cli.app import Run
from memctl.cli.night_log import log_night
from memctl.cli.options import DryRun, LockWait
from memctl.errors import UsageError
from memctl.progress import plural

if TYPE_CHECKING:
    from memctl.sleep.pipeline import Slept
    from memctl.sleep.plan import Plan


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
    if dry_run:
        from memctl.sleep.plan import plan

        ids = _named(run, facts)
        return _plan(run, plan(run.store, run.effective.settings, ids), if_needed)
    run.out.hush()
    try:
        slept = _slept(run, facts, if_needed, max_time, lock_wait)
    except BaseException as error:
        log_night(run.store_path, "stopped", f"{type(error).__name__}: {error}")
        raise
    return _tell(run, slept)


def _slept(run: Run, facts: list[str] | None, if_needed: bool, max_time: float | None, lock_wait: float) -> "Slept":
    from memctl.sleep.pipeline import sleep as go_to_sleep
    from memctl.sleep.plan import plan

    store, settings, ids = run.store, run.effective.settings, _named(run, facts)
    return go_to_sleep(
        store,
        lambda: run.backend,
        settings,
        ids=ids,
        wait=lock_wait,
        max_time=max_time,
        progress=run.out.progress,
        at_rest=lambda: _reason_to_stay(plan(store, settings, ids), if_needed),
    )


def _named(run: Run, facts: list[str] | None) -> list[str] | None:
    if facts is None:
        return None
    ledger = run.store.ledger()
    found = [ledger.by_prefix(id.strip()) for id in ",".join(facts).split(",") if id.strip()]
    if gone := [entry for entry in found if entry.state != "active"]:
        raise UsageError(f"{gone[0].id} ({gone[0].fact}) is {gone[0].state}", "`memctl facts` lists those that are active")
    if not found:
        raise UsageError("--facts names no fact", "give ids, separated by commas")
    return [entry.id for entry in found]


def _reason_to_stay(found: "Plan", if_needed: bool) -> str:
    """Why there is nothing to do; empty where there is."""
    if found.idle:
        return "everything is at rest"
    calm = if_needed and found.advice != "sleep" and not found.waiting
    return f"the pressure is {found.pressure.value:.2f}" if calm else ""


def _plan(run: Run, found: "Plan", if_needed: bool) -> int:
    stays = _reason_to_stay(found, if_needed)
    work = [
        f"curate       {plural(found.waiting, 'fact')} waiting in the journal",
        f"maintain     {found.degraded} degraded when last asked",
        "consolidate  " + ("an adapter is made" if found.trains else "the adapter carries these facts already"),
        f"scale down   {plural(found.edits, 'edit')}; facts at the stages 0 to 3: {', '.join(map(str, found.stages))}",
        f"pressure     {found.pressure.value:.2f}",
    ]
    said = f"nothing to do: {stays}" if stays else "\n".join(work)
    record = {"result": "dry-run", "plan": msgspec.to_builtins(found), "would_sleep": not stays}
    run.out.summary(record, said)
    return 0


def _tell(run: Run, slept: "Slept") -> int:
    from memctl.cli.night_report import report_lines
    from memctl.sleep.state import Step

    report = slept.report
    seconds = sum(step.seconds for step in report.steps)
    said = [slept.refusal.message] if slept.refusal else [*(step.said for step in report.steps), slept.reason]
    line = "; ".join(filter(None, [f"{seconds:.1f} s", *said]))
    log_night(run.store.path, slept.result, line)  # first: whoever reads the output may hang up
    for part, text, style in report_lines(report):
        run.out.record("step" if isinstance(part, Step) else "fact", msgspec.to_builtins(part), text, style)
    record = {
        "result": slept.result,
        "gate": slept.refusal.message if slept.refusal else None,
        "reason": slept.reason or None,
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
    if slept.result == "noop" and slept.reason:
        run.out.summary(record, f"nothing to do: {slept.reason}")
        return 0
    ended = {"done": "done", "noop": "nothing to change", "interrupted": f"{slept.reason}; the next sleep goes on from here"}
    run.out.summary(record, f"{ended[slept.result]}; {plural(len(report.facts), 'fact')}, {seconds:.1f} s")
    return 0
