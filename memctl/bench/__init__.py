"""Measured suites: what an edit does, beside other ways to give a model facts, with seeds, intervals and plots.

A suite plans its cells, measures them one by one, and every cell is on disk before the next is begun.
"""

SUITES = (
    "capacity",
    "first-person",
    "baselines",
    "lambda",
    "speed",
    "convergence",
    "consolidation",
    "lifetime",
    "alignment-tax",
    "counterfact",
    "zsre",
)
"""Names of the suites; `memctl.bench.suites` has the suites themselves."""

COMPREHENSIVE = "comprehensive"
"""What stands for all suites that invent their facts."""
