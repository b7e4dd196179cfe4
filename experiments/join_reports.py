"""One report of the cells that runs of single seeds or methods measured, side by side or on several days.

    python experiments/join_reports.py OUT REPORT… [--sizes 1,10,36] [--config FILE] [--data FILE] [--asked-anew FILE…]

OUT and each REPORT are folders as `memctl bench --out` makes them, all of one suite, config, model, machine, settings and
versions. --config is the one that they were run with, if it was not the shipped one, and --data the records of a suite that
reads them. With --sizes, only cells of these sizes are taken. --asked-anew names what `ask_other_relations.py` wrote: its
figures stand where a cell has none of other relations. The report calls itself complete where no cell of the config is
missing, of the methods that were measured; if the seeds measured are not the config's, every size is expected of each seed
measured.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec

from memctl.bench.config import OF_A_RUN
from memctl.bench.measures import MEASURES
from memctl.bench.plots import draw
from memctl.bench.report import Cell, Report, ReportFolder, rows
from memctl.bench.suite import Suite
from memctl.bench.suites import PUBLISHED, make


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def completed(cell: Cell) -> Cell:
    """The cell with what was asked anew, its measures in the order of all reports."""
    there = {name: value for name, value in cell.values.items() if value is not None}
    values = {**cell.values, **anew.get((int(cell.cell["seed"]), int(cell.cell["size"])), {}), **there}
    return Cell(cell.cell, {name: values[name] for name in MEASURES if name in values})


def without_run(config: dict[str, Any]) -> dict[str, Any]:
    """The config as a report has it: its lists are a suite's tuples."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(config))
    return {name: value for name, value in plain.items() if name not in OF_A_RUN}


parser = argparse.ArgumentParser()
parser.add_argument("out", type=Path)
parser.add_argument("reports", type=Path, nargs="+")
parser.add_argument("--sizes", type=numbers, help="numbers of facts, with commas between")
parser.add_argument("--config", type=Path, help="TOML in place of the suite's shipped config")
parser.add_argument("--data", type=Path, help="records that the suite reads")
parser.add_argument("--asked-anew", type=Path, nargs="*", default=[], help="what ask_other_relations.py wrote")
arguments = parser.parse_args()

anew: dict[tuple[int, int], dict[str, float]] = {}
for path in arguments.asked_anew:
    asked = json.loads(path.read_bytes())
    for found in asked["sizes"]:
        anew[asked["seed"], found["facts"]] = {f"relation_bleed_{mode}": found[mode] for mode in ("raw", "chat")}

reports: list[Report] = []
for path in arguments.reports:
    report = ReportFolder(path).read()
    if report is None:
        parser.error(f"{path} holds no report")
    reports.append(report)
first = reports[0].setup
if (first.suite in PUBLISHED) != (arguments.data is not None):
    parser.error(f"{first.suite} reads {'records: --data' if first.suite in PUBLISHED else 'no records'}")
given: dict[str, Any] = {"sizes": arguments.sizes} if arguments.sizes else {}


def suite_of(*some: Report) -> Suite:
    """The suite with the seeds and methods of reports, where these are not all that the config has."""
    made = make(first.suite, arguments.config, arguments.data, given)
    own = {}
    for name in ("seed", "method"):
        values = {cell.cell[name]: None for report in some for cell in report.cells if name in cell.cell}
        if set(values) != {one.cell[name] for one in made.plan() if name in one.cell}:
            own[f"{name}s"] = list(values)
    return make(first.suite, arguments.config, arguments.data, {**given, **own}) if own else made


for path, report in zip(arguments.reports, reports, strict=True):
    for part in ("suite", "model", "settings", "machine", "versions"):
        if getattr(report.setup, part) != getattr(first, part):
            parser.error(f"{path} differs from {arguments.reports[0]} in {part}")
    own, asked = without_run(report.setup.config), without_run(suite_of(report).setup())
    if any(own[name] != asked[name] for name in own.keys() & asked.keys()):  # settings of methods not measured yet are in one
        parser.error(f"{path} was run with another config; --config names it")

suite = suite_of(*reports)
measured = [cell for report in reports for cell in report.cells if not arguments.sizes or cell.cell["size"] in arguments.sizes]
planned = [one.cell for one in suite.plan()]
for cell in measured:
    if cell.cell not in planned:
        parser.error(f"{cell.cell} is not in the config; --sizes leaves sizes out")
    if sum(cell.cell == other.cell for other in measured) > 1:
        parser.error(f"{cell.cell} is in several reports")
cells = tuple(sorted(map(completed, measured), key=lambda cell: planned.index(cell.cell)))
setup = msgspec.structs.replace(first, config=suite.setup())
taken = f" --sizes {','.join(map(str, arguments.sizes))}" if arguments.sizes else ""
taken += f" --data {arguments.data.name}" if arguments.data else ""
taken += "".join(f" --asked-anew {path.name}" for path in arguments.asked_anew)
command = "; ".join([*dict.fromkeys(report.command for report in reports), f"python experiments/join_reports.py{taken}"])
joined = Report(setup, command, len(cells) == len(planned), cells, rows(cells))
folder = ReportFolder(arguments.out)
folder.write(joined, suite.title, suite.about)
draw(suite.panels(), joined.rows, suite.title, folder.plot)
print(f"{len(cells)} of {len(planned)} cells in {folder.markdown}")
