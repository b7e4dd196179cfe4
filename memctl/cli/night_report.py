"""How a sleep's report looks to people, on the morning after and later."""

from collections.abc import Iterator

from memctl.cli.views import recall_text
from memctl.sleep.state import FactReport, SleepReport, Step

GATE_STYLES = {"passed": "green", "failed": "yellow", "not asked": "dim"}


def report_lines(report: SleepReport) -> Iterator[tuple[Step | FactReport, str, str]]:
    """The parts of a sleep's report, the steps first, each with its line for people and the style of it."""
    for number, step in enumerate(report.steps, start=1):
        yield step, f"{number}. {step.name:<12} {step.seconds:>7.1f} s  {step.said}", ""
    for fact in report.facts:
        moved = f"stage {fact.stage_before} → {fact.stage}" if fact.stage != fact.stage_before else f"stage {fact.stage}"
        recall = "not asked" if fact.raw is None or fact.chat is None else recall_text(fact.raw, fact.chat)
        yield fact, f"{fact.id}  {moved}  scale {fact.scale:g}  recall {recall}  {fact.gate}", GATE_STYLES[fact.gate]
