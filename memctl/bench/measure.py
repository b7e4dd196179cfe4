"""What a way to give facts does to recall, to strangers, to other relations, and to other text."""

from collections.abc import Sequence
from statistics import fmean
from typing import Protocol

import msgspec

from memctl.backends.protocol import PRISTINE, Backend
from memctl.bench.attributed import first_named, rightly_named
from memctl.bench.learners import Fixed, Learner
from memctl.deltas import Composition
from memctl.editing.subjects import seeded
from memctl.evaluation.drift import measure_drift
from memctl.evaluation.invented import strangers
from memctl.evaluation.locality import bleed_of, locality_of, other_relations, stranger_prompts
from memctl.evaluation.questions import questions, questions_kept
from memctl.evaluation.recall import FactRecall, completions, judged, recall, recall_objects, recall_prompts, stated_facts
from memctl.facts import Fact, Mode
from memctl.progress import silent


class Bystanders(Protocol):
    """Whom to ask besides the facts."""

    @property
    def strangers(self) -> int:
        """Unseen people, a third of them with a stored surname and a third with a stored first name."""

    @property
    def probed(self) -> int:
        """Stored subjects, at most, that are asked about six other relations each."""


class Unedited:
    """The unedited model's answers, asked for once however many methods and sizes need them."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._texts: dict[tuple[tuple[Mode, str], ...], list[str]] = {}
        self._recall: dict[tuple[Fact, ...], list[FactRecall]] = {}

    def texts(self, prompts: Sequence[tuple[Mode, str]]) -> list[str]:
        """Answers to a list of prompts: kept by the whole list, since in bfloat16 a batch's shape can decide a near tie."""
        key = tuple(prompts)
        if key not in self._texts:
            with self.backend.attached(PRISTINE):
                self._texts[key] = completions(self.backend, prompts, silent, "")
        return self._texts[key]

    def recall(self, facts: Sequence[Fact]) -> list[FactRecall]:
        """Recall of facts that nobody told: kept by the whole list, too."""
        key = tuple(facts)
        if key not in self._recall:
            with self.backend.attached(PRISTINE):
                self._recall[key] = recall(self.backend, facts, silent)
        return self._recall[key]


def measured(
    backend: Backend, learner: Learner, unedited: Unedited, facts: Sequence[Fact], seed: int, config: Bystanders
) -> dict[str, float]:
    """All measures of a learner that was told these facts."""
    people = stranger_prompts(facts, strangers(config.strangers, seed, [fact.subject for fact in facts]))
    return measured_beside(backend, learner, unedited, facts, people, config.probed)


def measured_beside(
    backend: Backend,
    learner: Learner,
    unedited: Unedited,
    facts: Sequence[Fact],
    people: Sequence[tuple[Mode, str]],
    probed: int,
) -> dict[str, float]:
    """The same, with prompts of one's own about others: a raw one and a question in turn.

    What nobody was asked about is left out.
    """
    said = answers(backend, learner, recall_prompts(facts), recall_objects(facts))
    found = judged(facts, said)
    values = means(found) | least(facts, found)
    values |= {f"unedited_{name}": value for name, value in means(unedited.recall(facts)).items()}
    said_of_people = answers(backend, learner, people)
    if people:
        values |= msgspec.structs.asdict(locality_of(facts, unedited.texts(people), said_of_people))
    asked = other_relations(of_some(facts, probed))
    others = [(one.mode, one.prompt) for one in asked]
    if asked:
        bled = bleed_of(asked, unedited.texts(others), answers(backend, learner, others))
        values |= {"relation_bleed_raw": bled.raw, "relation_bleed_chat": bled.chat}
    drift = measure_drift(backend, learner.composition, silent)
    values |= {"drift": drift.perplexity, "divergence": drift.divergence}
    return values | (_named(backend, learner, facts, said, people, said_of_people) if learner.memories else {})


def _named(
    backend: Backend,
    learner: Learner,
    facts: Sequence[Fact],
    said: Sequence[str],
    people: Sequence[tuple[Mode, str]],
    said_of_people: Sequence[str],
) -> dict[str, float]:
    """Whether the memory named for a recalled answer is the fact's, and none for what needs no memory."""
    memories = learner.memories
    stated = stated_facts(facts, said)
    recalled = [k for k, fact in enumerate(stated) if fact is not None]
    prompts = recall_prompts(facts)
    named = first_named(backend, memories, [prompts[k] for k in recalled], [said[k] for k in recalled])
    asked = questions()
    needless: list[tuple[Mode, str]] = [("chat", question) for question in (*(q for q, _ in asked.general), *asked.identity)]
    general = first_named(backend, memories, needless, answers(backend, learner, needless))
    of_people = first_named(backend, memories, people, said_of_people)
    found = {
        "named": rightly_named(named, [fact.subject for fact in stated if fact is not None]),
        "unnamed": rightly_named(general, [None] * len(general)),
    }
    return found | ({"unnamed_people": rightly_named(of_people, [None] * len(of_people))} if people else {})


def measured_with_questions(
    backend: Backend, attached: Composition, unedited: Unedited, facts: Sequence[Fact], seed: int, config: Bystanders
) -> dict[str, float]:
    """All measures of what these facts have become, and the general and identity questions that are still answered."""
    kept = questions_kept(backend, attached, silent)
    values = measured(backend, Fixed(attached), unedited, facts, seed, config)
    return values | {"general": kept.general, "identity": kept.identity}


def answers(backend: Backend, learner: Learner, prompts: Sequence[tuple[Mode, str]], objects: Sequence[str] = ()) -> list[str]:
    """What the model says once the learner has done what it does."""
    with backend.attached(learner.composition):
        return completions(backend, learner.put(prompts), silent, "", objects)


def means(found: Sequence[FactRecall]) -> dict[str, float]:
    """The four recalls over the facts."""
    return {name: fmean(getattr(one, name) for one in found) for name in FactRecall.__struct_fields__}


def least(facts: Sequence[Fact], found: Sequence[FactRecall]) -> dict[str, float]:
    """Recall of the subject that has the least; nothing where each has one fact."""
    by_subject: dict[str, list[FactRecall]] = {}
    for fact, one in zip(facts, found, strict=True):
        by_subject.setdefault(fact.subject, []).append(one)
    if len(by_subject) == len(facts):
        return {}
    of_each = [means(own) for own in by_subject.values()]
    return {f"least_{name}": min(own[name] for own in of_each) for name in ("raw", "chat")}


def of_some(facts: Sequence[Fact], most: int) -> list[Fact]:
    """All facts of at most so many subjects, drawn at random: an even step over the facts would meet some relations alone."""
    subjects = list(dict.fromkeys(fact.subject for fact in facts))
    count = min(most, len(subjects))
    chosen = {subjects[k] for k in seeded("probed", len(subjects)).permutation(len(subjects))[:count]}
    return [fact for fact in facts if fact.subject in chosen]
