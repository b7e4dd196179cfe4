"""`capacity`: what happens as facts grow in number, told one at a time or a few at once."""

from typing import Any

from memctl.bench.config import AtLeastOne, NotNegative
from memctl.bench.growth import grow, planned
from memctl.bench.learners import ABOUT, MethodsConfig, described, require
from memctl.bench.measure import Unedited, measured
from memctl.bench.plots import Panel
from memctl.bench.suite import Bench, Planned
from memctl.errors import UsageError
from memctl.evaluation.invented import facts_on_each, invented_facts
from memctl.facts import Fact


class CapacityConfig(MethodsConfig, frozen=True, kw_only=True):
    """The suite's settings.

    Attributes:
        sharing: Invented people who share a surname.
        each: Facts about each of them, over all relations of people; several are told together.
        strangers, probed: See `Bystanders`.
    """

    sharing: AtLeastOne = 7
    each: AtLeastOne = 1
    strangers: NotNegative = 100
    probed: NotNegative = 50


class Capacity:
    """Facts about distinct invented people, measured at each size."""

    config_type = CapacityConfig
    title = "Capacity: facts told one at a time"

    def __init__(self, config: CapacityConfig) -> None:
        require(config)
        self.config = config
        if config.each > 1:
            self.title = f"Capacity: several facts on each person, told {self._how}"
        elif config.at_once > 1:
            self.title = f"Capacity: facts told {self._how}"
        self._facts(max(config.sizes), config.seeds[0])  # whether there are so many
        if any(size % config.each for size in config.sizes):
            raise UsageError(
                f"with {config.each} facts on each person, sizes must be multiples of {config.each}", f"--sizes {config.each}"
            )

    @property
    def _how(self) -> str:
        if self.config.at_once > 1:
            return f"{self.config.at_once} people at a time"
        return self.config.how_told if self.config.each == 1 else "person by person"

    @property
    def about(self) -> str:
        told = "; ".join(f"**{method}**: {ABOUT[method]}" for method in self.config.methods)
        facts = "Facts about" if self.config.each == 1 else f"{self.config.each} facts about each of"
        return (
            f"{facts} distinct invented people, of whom {self.config.sharing} share each surname, are told {self._how}. "
            f"At each size, all facts told so far are asked for, {self.config.strangers} unseen people are asked about, and "
            f"{self.config.probed} stored ones at most about six other relations each. {told}."
        )

    def setup(self) -> dict[str, Any]:
        return described(self.config)

    def plan(self) -> list[Planned]:
        return planned(self.config.seeds, self.config.methods, self.config.sizes_of)

    def run(self, bench: Bench) -> None:
        config, unedited = self.config, Unedited(bench.backend)
        for seed in config.seeds:
            facts = self._facts(max(config.sizes_of(seed), default=1), seed)
            for method in config.methods:
                grow(
                    bench,
                    config,
                    seed,
                    method,
                    facts,
                    config.sizes_of(seed),
                    lambda learner, told, seed: measured(bench.backend, learner, unedited, told, seed, config),
                    config.each,
                )

    def _facts(self, count: int, seed: int) -> tuple[Fact, ...]:
        if self.config.each == 1:
            return invented_facts(count, seed, sharing=self.config.sharing)
        return facts_on_each(count, seed, self.config.each, sharing=self.config.sharing)

    def panels(self) -> list[Panel]:
        if len(self.config.methods) > 1:
            return compared(self.config.sizes)
        return [
            Panel("Facts recalled", ("raw", "chat", "raw_new", "chat_new", "unedited_chat"), "size"),
            Panel("Unseen people: answer unchanged to the token", ("same_raw", "same_chat"), "size"),
            Panel("Stored object where it does not belong", BLEEDS, "size"),
            Panel("Drift of perplexity on held-out text", ("drift",), "size"),
            Panel("Seconds to tell one more fact", ("seconds_per_fact",), "size"),
        ]


BLEEDS = ("bleed_raw", "bleed_chat", "relation_bleed_raw", "relation_bleed_chat")


def compared(sizes: tuple[int, ...]) -> list[Panel]:
    """Panels that put methods side by side: bars at one size, a line for each method over several."""
    if len(sizes) > 1:
        chosen = {
            "raw": "Facts recalled, raw",
            "chat": "Facts recalled, chat",
            "chat_new": "Recalled in chat wordings never trained on",
            "same_chat": "Unseen people: answer unchanged, chat",
            "drift": "Drift of perplexity",
            "seconds_per_fact": "Seconds to tell one more fact",
        }
        return [Panel(title, (measure,), "size", series="method") for measure, title in chosen.items()]
    return [
        Panel("Facts recalled", ("raw", "chat"), "method", "bars"),
        Panel("Recalled in wordings never trained on", ("raw_new", "chat_new"), "method", "bars"),
        Panel("Unseen people: answer unchanged", ("same_raw", "same_chat"), "method", "bars"),
        Panel("Object said to another question", ("relation_bleed_raw", "relation_bleed_chat"), "method", "bars"),
        Panel("Drift of perplexity", ("drift",), "method", "bars"),
        Panel("Seconds to tell one more fact", ("seconds_per_fact",), "method", "bars"),
    ]
