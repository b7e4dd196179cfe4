"""What `counterfact` and `zsre` share: facts of published records, and what the papers measure on them.

Teacher-forced, as published, and generated: a greedy answer of 16 tokens that names the object.
"""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TypeVar

import msgspec

from memctl.backends.protocol import Backend
from memctl.bench.config import NotNegative
from memctl.bench.forced import Question, preferred, token_accuracy
from memctl.bench.growth import grow, planned
from memctl.bench.learners import ABOUT, UNEDITED, Learner, MethodsConfig, described, require
from memctl.bench.measure import answers
from memctl.bench.plots import Panel
from memctl.bench.suite import Bench, Planned
from memctl.editing.subjects import seeded
from memctl.errors import UsageError
from memctl.evaluation.drift import measure_drift
from memctl.evaluation.recall import names
from memctl.facts import Fact
from memctl.progress import silent

_ASKED_FIRST = re.compile(r"^.*\?\s+(it|they|he|she)\s+(?!(is|was|are|were)$)", re.I)
"""What stands before the statement in "Where is {}? It is located in"; where nothing follows "it is", the question tells."""

_ANSWER_BEGUN = re.compile(r"\?\s+(it|they|he|she)\s+(is|was|are|were)$", re.I)
_RELATIVE = re.compile(r"^(who|which|that|whose)\s+", re.I)
_NO_RELATION = re.compile(
    r"^(the|a|an|in|of|for|what|which|who|whom|where|when|was|is|did|does|,)\s+|\s+(is|was|are|of|,)$", re.I
)


@dataclass(frozen=True)
class Case:
    """One record: the fact to tell, other ways to ask for it, and what must stay.

    Attributes:
        old: What is true of the subject; empty where the record does not say.
        neighbours: Prompts that the edit must not touch, with their right answers.
    """

    fact: Fact
    paraphrases: tuple[str, ...]
    old: str
    neighbours: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Cases:
    """The cases of a file.

    Attributes:
        skipped: Why records were left out, and how many for each reason.
        sha256: Of the file.
    """

    cases: tuple[Case, ...]
    skipped: dict[str, int]
    name: str
    sha256: str


class PublishedConfig(MethodsConfig, frozen=True, kw_only=True):
    """The settings of both suites; `sizes` are numbers of edits, and each seed draws records of its own.

    Attributes:
        neighbours: Prompts of a record at most that must stay.
    """

    neighbours: NotNegative = 10


Record = TypeVar("Record", bound=msgspec.Struct)


def read_records(path: Path, kind: type[Record], suite: str) -> tuple[list[Record], str]:
    """The records of a JSON file, and its SHA-256.

    Raises:
        UsageError: It cannot be read, or is no list of such records; names the record and the field.
    """
    try:
        data = path.read_bytes()
        return msgspec.json.decode(data, type=list[kind]), hashlib.sha256(data).hexdigest()  # type: ignore[valid-type]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "--data FILE") from error
    except msgspec.MsgspecError as error:
        raise UsageError(
            f"{path} is not in the format of {suite}: {error}", "give the JSON file as it was published"
        ) from error


def gathered(found: Iterable[Case | str], name: str, sha256: str) -> Cases:
    """Cases without those that could not be made, and without a second one about the same subject and relation."""
    cases: dict[tuple[str, str], Case] = {}
    skipped: dict[str, int] = {}
    for case in found:
        key = case if isinstance(case, str) else (case.fact.subject.casefold(), case.fact.relation.casefold())
        if isinstance(case, str) or key in cases:
            reason = case if isinstance(case, str) else "the subject has such a fact already"
            skipped[reason] = skipped.get(reason, 0) + 1
        elif isinstance(key, tuple):
            cases[key] = case
    if not cases:
        raise UsageError(f"{name} holds no record that could be used: {skipped}", "--data FILE")
    return Cases(tuple(cases.values()), skipped, name, sha256)


def relation_words(template: str) -> str:
    """What is said of the subject, from a prompt with `{}` in its place: "The mother tongue of {} is" → "mother tongue"."""
    template = _ANSWER_BEGUN.sub("", _ASKED_FIRST.sub("{} ", template.strip()))
    text = " ".join(re.sub(r" (of|in) {} ", " ", template).replace("{}", " ").replace("'s", " ").split()).strip(" ?,.")
    if template.startswith("{}"):
        return _RELATIVE.sub("", text)
    while (shorter := _NO_RELATION.sub("", text)) not in (text, ""):
        text = shorter
    return text


class Published(ABC):
    """A suite over published records."""

    title: str
    config_type = PublishedConfig
    forced: Literal["preference", "accuracy"]
    """How the papers count a teacher-forced answer: likelier than the old object, or the share of right tokens."""

    def __init__(self, config: PublishedConfig, data: Path | None) -> None:
        if data is None:
            raise UsageError("the records are missing", "--data FILE: the JSON file as it was published")
        require(config)
        self.config, self.data = config, self.read(data)
        if max(config.sizes) > len(self.data.cases):
            raise UsageError(
                f"{data} holds {len(self.data.cases)} usable records, fewer than {max(config.sizes)}", "--sizes with fewer"
            )

    @abstractmethod
    def read(self, path: Path) -> Cases:
        """The cases of a file."""

    @property
    def about(self) -> str:
        told = "; ".join(f"**{method}**: {ABOUT[method]}" for method in self.config.methods)
        skipped = "; ".join(f"{count} left out: {reason}" for reason, count in self.data.skipped.items())
        return f"{len(self.data.cases)} records{f' ({skipped})' if skipped else ''}, told {self.config.how_told}. {told}."

    def setup(self) -> dict[str, Any]:
        return described(self.config) | {
            "data": {"name": self.data.name, "sha256": self.data.sha256, "records": len(self.data.cases)}
        }

    def plan(self) -> list[Planned]:
        return planned(self.config.seeds, self.config.methods, self.config.sizes_of)

    def run(self, bench: Bench) -> None:
        unedited: dict[tuple[int, int], dict[str, float]] = {}
        for seed in self.config.seeds:
            order = seeded("records", seed).permutation(len(self.data.cases))
            cases = [self.data.cases[k] for k in order[: max(self.config.sizes)]]

            def measure(learner: Learner, told: Sequence[Fact], seed: int, cases: Sequence[Case] = cases) -> dict[str, float]:
                mine = cases[: len(told)]
                if (seed, len(told)) not in unedited:
                    unedited[seed, len(told)] = self.measured(bench.backend, UNEDITED, mine)
                beside = {f"unedited_{name}": value for name, value in unedited[seed, len(told)].items()}
                drift = measure_drift(bench.backend, learner.composition, silent).perplexity
                return self.measured(bench.backend, learner, mine) | beside | {"drift": drift}

            facts = [case.fact for case in cases]
            for method in self.config.methods:
                grow(bench, self.config, seed, method, facts, self.config.sizes_of(seed), measure)

    def measured(self, backend: Backend, learner: Learner, cases: Sequence[Case]) -> dict[str, float]:
        """Efficacy, paraphrase and specificity, generated and teacher-forced."""
        asked = [question for case in cases for question in self._questions(case)]
        texts = answers(backend, learner, [("raw", question.prompt) for question in asked])
        forced = (preferred if self.forced == "preference" else token_accuracy)(backend, learner, asked)
        hits: dict[str, list[float]] = {}
        for question, text, value in zip(asked, texts, forced, strict=True):
            hits.setdefault(question.of, []).append(value)
            generated = names(text, question.right, [question.wrong] if question.wrong else [])
            hits.setdefault(f"{question.of}_generated", []).append(float(generated))
        return {name: fmean(found) for name, found in hits.items()}

    def _questions(self, case: Case) -> list[Question]:
        new, old = case.fact.object, case.old
        return [
            Question("efficacy", case.fact.completion_prompt, new, old),
            *(Question("paraphrase", prompt, new, old) for prompt in case.paraphrases),
            *(
                Question("specificity", prompt, right, new if old else "")
                for prompt, right in case.neighbours[: self.config.neighbours]
            ),
        ]

    def panels(self) -> list[Panel]:
        chosen = (
            ("efficacy_generated", "efficacy"),
            ("paraphrase_generated", "paraphrase"),
            ("specificity_generated", "specificity", "unedited_specificity_generated"),
            ("drift",),
        )
        titles = ("The fact itself", "In other words", "What must stay", "Drift of perplexity")
        if len(self.config.sizes) == 1:
            return [Panel(title, measures, "method", "bars") for title, measures in zip(titles, chosen, strict=True)]
        return [
            Panel(f"{title}{', generated' if len(measures) > 1 else ''}", measures[:1], "size", series="method")
            for title, measures in zip(titles, chosen, strict=True)
        ]
