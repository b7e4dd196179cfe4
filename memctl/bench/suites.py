"""The table of suites."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memctl.bench.about_user import AboutUser
from memctl.bench.alignment_tax import AlignmentTax
from memctl.bench.baselines import Baselines
from memctl.bench.capacity import Capacity
from memctl.bench.config import read_config
from memctl.bench.counterfact import CounterFact
from memctl.bench.damping import Damping
from memctl.bench.nights import Consolidation, Convergence, Lifetime
from memctl.bench.report import Report
from memctl.bench.speed import Speed
from memctl.bench.suite import Suite
from memctl.bench.zsre import ZsRe
from memctl.errors import UsageError

INVENTED: dict[str, Any] = {
    "capacity": Capacity,
    "first-person": AboutUser,
    "baselines": Baselines,
    "lambda": Damping,
    "speed": Speed,
    "convergence": Convergence,
    "consolidation": Consolidation,
    "lifetime": Lifetime,
    "alignment-tax": AlignmentTax,
}
PUBLISHED = {"counterfact": CounterFact, "zsre": ZsRe}


def make(name: str, config: Path | None, data: Path | None, given: Mapping[str, Any], report: Report | None = None) -> Suite:
    """A suite, ready to be run.

    Args:
        config: A file in place of the shipped one.
        data: Published records, for the suites that read them.
        given: Fields of the config from the command line.
        report: The one that is to go on; what is not given is as it was begun.

    Raises:
        UsageError: The config or the data are wrong, or not for this suite.
        BackendMissing: An extra that the suite needs is not installed.
    """
    begun = report.setup.config if report and report.setup.suite == name else None
    if name in PUBLISHED:
        kind = PUBLISHED[name]
        return kind(read_config(kind.config_type, name, config, given, begun), data)
    if data is not None:
        raise UsageError(f"the suite {name} invents its facts", "leave --data out")
    suite = INVENTED[name]
    made: Suite = suite(read_config(suite.config_type, name, config, given, begun))
    return made
