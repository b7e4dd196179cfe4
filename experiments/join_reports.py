"""One report of the cells that runs of single seeds measured, side by side or on several days.

    python experiments/join_reports.py OUT REPORT… [--sizes 1,10,36] [--config FILE]

OUT and each REPORT are folders as `memctl bench --out` makes them. All have to be of one suite, model, machine, settings and
versions. With --sizes, cells of other sizes are left out; the plan is that of --config (or the shipped one), or where
other seeds were run, that of theirs, and the report calls itself complete where nothing of it is missing.
"""

import argparse
from pathlib import Path

import msgspec

from memctl.bench.plots import draw
from memctl.bench.report import Report, ReportFolder, rows
from memctl.bench.suites import make

parser = argparse.ArgumentParser()
parser.add_argument("out", type=Path)
parser.add_argument("reports", type=Path, nargs="+")
parser.add_argument("--sizes", help="numbers of facts, with commas between")
parser.add_argument("--config", type=Path, help="TOML in place of the suite's shipped config")
arguments = parser.parse_args()

reports: list[Report] = []
for path in arguments.reports:
    report = ReportFolder(path).read()
    if report is None:
        parser.error(f"{path} holds no report")
    reports.append(report)
first = reports[0].setup
for path, report in zip(arguments.reports, reports, strict=True):
    for part in ("suite", "model", "settings", "machine", "versions"):
        if getattr(report.setup, part) != getattr(first, part):
            parser.error(f"{path} differs from {arguments.reports[0]} in {part}")

given = {"sizes": [int(size) for size in arguments.sizes.split(",")]} if arguments.sizes else {}
seeds = sorted({int(cell.cell["seed"]) for report in reports for cell in report.cells})
suite = make(first.suite, arguments.config, None, given)
if {one.cell["seed"] for one in suite.plan()} != set(seeds):
    suite = make(first.suite, arguments.config, None, {**given, "seeds": seeds})  # these at every size
planned = [one.cell for one in suite.plan()]
measured = [cell for report in reports for cell in report.cells]
cells = tuple(next(cell for cell in measured if cell.cell == key) for key in planned if any(c.cell == key for c in measured))
setup = msgspec.structs.replace(first, config=suite.setup())
command = "; ".join(dict.fromkeys(report.command for report in reports)) + "; their cells joined by experiments/join_reports.py"
joined = Report(setup, command, len(cells) == len(planned), cells, rows(cells))
folder = ReportFolder(arguments.out)
folder.write(joined, suite.title, suite.about)
draw(suite.panels(), joined.rows, suite.title, folder.plot)
print(f"{len(cells)} of {len(planned)} cells in {folder.markdown}")
