"""`memctl inject`: facts from options, a sentence, a file, or standard input."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from typer import Argument, Option

from memctl.cli.app import Run
from memctl.cli.lines import BadLine, nobody_pipes, opened, read_lines
from memctl.cli.options import DryRun, LockWait
from memctl.cli.views import recall_text
from memctl.errors import PARTIAL_FAILURE, UsageError
from memctl.facts import Fact, Provenance, make_fact

if TYPE_CHECKING:
    from memctl.editing.preflight import Preflight
    from memctl.wake.inject import InjectReport
    from memctl.wake.outcomes import Outcome

STYLES = {"written": "green", "superseded": "green", "present": "dim", "rejected": "red"}
ENDINGS = (".ndjson", ".jsonl", ".json")

Found = tuple[Fact, Provenance]


def inject(
    run: Run,
    fact: Annotated[str | None, Argument(metavar="[FACT|FILE|-]", help="A sentence, an NDJSON file, or - for stdin.")] = None,
    subject: Annotated[str | None, Option(help="Whom or what the fact is about.")] = None,
    relation: Annotated[str | None, Option(help='Such as "lives in".')] = None,
    object: Annotated[str | None, Option(help="What is to be remembered.")] = None,
    prompt: Annotated[str, Option(help="Text with the subject that ends right before the object.")] = "",
    question: Annotated[list[str] | None, Option(help="A chat question to train on; may be repeated.")] = None,
    strict: Annotated[bool, Option("--strict", help="Write nothing if any line is bad or any fact is rejected.")] = False,
    force: Annotated[bool, Option("--force", help="Keep the edit even if a measurement forbids it.")] = False,
    lock_wait: LockWait = 0.0,
    dry_run: DryRun = False,
) -> int:
    """Writes facts into the weights, and reads them back."""
    store = run.store  # a missing store is said before the input is read, bad input before a model is loaded
    triple = {"subject": subject, "relation": relation, "object": object}
    if any(value is not None for value in triple.values()) or prompt or question:
        found, bad = [_from_options(triple, fact, prompt, question or [])], list[BadLine]()
    else:
        found, bad = _read(fact)
    for line in bad:
        run.out.error(line.error, line=line.line)
    if not found or (bad and strict):
        return _sum_up(run, None, len(bad), dry_run)
    from memctl.wake.fact_record import Told
    from memctl.wake.inject import inject as write

    report = write(
        store,
        run.backend,
        run.effective.settings,
        [Told(*one) for one in found],
        wait=lock_wait,
        force=force,
        dry_run=dry_run,
        progress=run.out.progress,
        strict=strict,
    )
    for outcome in report.outcomes:
        _tell(run, outcome, dry_run)
    return _sum_up(run, report, len(bad), dry_run)


def _from_options(triple: dict[str, str | None], fact: str | None, prompt: str, questions: list[str]) -> Found:
    if fact is not None:
        raise UsageError(f"both {fact!r} and options state a fact", "give one of them")
    given = {name: value for name, value in triple.items() if value is not None}
    if missing := [f"--{name}" for name in triple if name not in given]:
        raise UsageError(f"{' and '.join(missing)} missing", "a fact is --subject, --relation and --object")
    return make_fact(**given, prompt=prompt, questions=tuple(questions)), Provenance(source="cli")


def _read(fact: str | None) -> tuple[list[Found], list[BadLine]]:
    from memctl.wake.fact_record import read_fact
    from memctl.wake.sentence import EXAMPLE, parse_sentence

    if fact is None and nobody_pipes():
        raise UsageError("no fact was given", f"give one, {EXAMPLE}")
    name = "-" if fact is None else fact
    there = os.path.exists(name) and not os.path.isdir(name)  # a pipe too; Path.exists raises for a long text
    is_file = there or (name.endswith(ENDINGS) and " " not in name)
    if name != "-" and not is_file:
        return [(parse_sentence(name), Provenance(source="cli"))], []
    source = "stdin" if name == "-" else Path(name).name
    with opened(name, "inject") as stream:
        found = list(read_lines(stream, lambda text, line: read_fact(text, source, line)))
    told = [item for item in found if not isinstance(item, BadLine)]
    return told, [item for item in found if isinstance(item, BadLine)]


def _tell(run: Run, outcome: "Outcome", dry_run: bool) -> None:
    fact = outcome.fact
    record: dict[str, Any] = {
        "id": fact.id,
        "subject": fact.subject,
        "relation": fact.relation,
        "object": fact.object,
        "status": outcome.status,
        "before": msgspec.to_builtins(outcome.before),
        "after": msgspec.to_builtins(outcome.after),
        "reason": outcome.reason,
        "replaced": outcome.replaced,
        "preflight": msgspec.to_builtins(outcome.preflight),
    }
    parts = [f"{outcome.status:<10} {fact.id}  {fact}"]
    if outcome.before and outcome.after:
        before, after = (recall_text(recall.raw, recall.chat) for recall in (outcome.before, outcome.after))
        parts.append(f"recall {before} → {after}")
    if outcome.replaced:
        parts.append(f"replaces {outcome.replaced}")
    if outcome.reason:
        parts.append(outcome.reason)
    text = "  ".join(parts)
    if outcome.preflight and dry_run:
        text += f"\n  pre-flight: {_preflight_text(outcome.preflight)}"
    if outcome.status == "rejected" and run.out.mode == "quiet":
        return  # ids are of facts that are in the memory
    run.out.record("fact", record, text, STYLES[outcome.status])


def _preflight_text(check: "Preflight") -> str:
    loss = "no finite loss" if check.loss is None else f"loss {check.loss:.2f} nats a token"
    parts = [loss, f"value at {check.norm:.0%} of its bound"]
    if check.touched is not None:
        parts.append(f"acts on {check.touched:.4%} of ordinary text")
    met = ", ".join(f"{collision.subject} ({collision.strength:.2f})" for collision in check.collisions)
    return "; ".join([*parts, f"collides with {met}" if met else "collides with nobody"])


def _sum_up(run: Run, report: "InjectReport | None", errors: int, dry_run: bool) -> int:
    """The summary; without a report nothing was tried."""
    outcomes = report.outcomes if report else ()
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in STYLES}
    record = {
        **counts,
        "errors": errors,
        "snapshot": report.snapshot.id if report and report.snapshot else None,
        "drift": report.drift if report else 0.0,
        "seconds": report.seconds if report else 0.0,
        "dry_run": dry_run,
    }
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "nothing was written"
    drift = f"; drift {record['drift']:+.2%}" if counts["written"] + counts["superseded"] else ""
    tail = "; dry run: nothing was changed" if dry_run else ""
    run.out.summary(record, f"{said}{drift}; {record['seconds']:.1f} s{tail}")
    return PARTIAL_FAILURE if errors or counts["rejected"] else 0
