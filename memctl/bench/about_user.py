"""`first-person`: facts about what is the user's, asked as the user asks, and nobody else's answers touched."""

from collections.abc import Sequence
from typing import Any

from memctl.bench.capacity import BLEEDS
from memctl.bench.config import NotNegative
from memctl.bench.growth import grow, planned
from memctl.bench.learners import MethodsConfig, described, require
from memctl.bench.measure import Unedited, measured_beside
from memctl.bench.plots import Panel
from memctl.bench.suite import Bench, Planned
from memctl.evaluation.invented import facts_of_user, things_of_others
from memctl.evaluation.locality import asked_about
from memctl.facts import Fact, Mode


class AboutUserConfig(MethodsConfig, frozen=True, kw_only=True):
    """The suite's settings.

    Attributes:
        others: Questions about what is somebody else's, a raw one with each.
        probed: Subjects, at most, that are asked about six other relations each.
    """

    others: NotNegative = 100
    probed: NotNegative = 20


class AboutUser:
    """Facts in the first person, measured at each size."""

    config_type = AboutUserConfig
    title = "First person: facts about what is the user's"

    def __init__(self, config: AboutUserConfig) -> None:
        require(config)
        facts_of_user(max(config.sizes), config.seeds[0])  # whether there are so many
        self.config = config

    @property
    def about(self) -> str:
        return (
            f"Facts about what is the user's are told {self.config.how_told}. At each size, all facts told so far are asked "
            'for as the user would ("my dog"), the same is asked about what is others\' '
            f"({self.config.others} raw prompts and as many questions), and six other relations of each subject."
        )

    def setup(self) -> dict[str, Any]:
        return described(self.config)

    def plan(self) -> list[Planned]:
        return planned(self.config.seeds, self.config.methods, self.config.sizes_of)

    def run(self, bench: Bench) -> None:
        config, unedited = self.config, Unedited(bench.backend)
        for seed in config.seeds:
            facts = facts_of_user(max(config.sizes_of(seed), default=1), seed)
            for method in config.methods:
                grow(
                    bench,
                    config,
                    seed,
                    method,
                    facts,
                    config.sizes_of(seed),
                    lambda learner, told, seed: measured_beside(
                        bench.backend, learner, unedited, told, prompts_about_others(told, seed, config.others), config.probed
                    ),
                )

    def panels(self) -> list[Panel]:
        return [
            Panel("Facts recalled", ("raw", "chat", "raw_new", "chat_new", "unedited_chat"), "size", log=False),
            Panel("Others: answer unchanged to the token", ("same_raw", "same_chat"), "size", log=False),
            Panel("Stored object where it does not belong", BLEEDS, "size", log=False),
            Panel("Drift of perplexity on held-out text", ("drift",), "size", log=False),
        ]


def prompts_about_others(facts: Sequence[Fact], seed: int, count: int) -> list[tuple[Mode, str]]:
    """A raw prompt and a question about each of so many others."""
    others = things_of_others(facts, seed, count)
    return [prompt for k, (fact, name) in enumerate(others) for prompt in asked_about(name, fact, k)]
