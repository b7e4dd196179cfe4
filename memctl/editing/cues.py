"""Ways to ask for a fact: for training, for measuring, and about everything else that is said of its subject.

Wordings come from the bank of relations and from the user. What training uses is never used to measure: the bank keeps
its held-out wordings apart.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from memctl.editing.relations import Relation, bank, general, recognise
from memctl.editing.subjects import seeded
from memctl.facts import Cue, Fact, Mode, gives_away, spans
from memctl.first_person import is_owned, mentions_of, said_by_model, said_by_user

CHAT_CUES = 8
RAW_CUES = 4
"""Most of the bank's wordings that a fact is trained on: a few are sampled in each step, so many cost no more than few."""


@dataclass(frozen=True)
class MeasuringCues:
    """What recall is measured on.

    Attributes:
        plain: The fact's own raw prompt and the first chat question: what a user would type.
        unseen: Wordings that training never uses.
    """

    plain: tuple[Cue, ...]
    unseen: tuple[Cue, ...]


@dataclass(frozen=True)
class Probe:
    """A question about another relation of the subject, cut right before the place of the object.

    Attributes:
        begun: The answer's text up to the object; empty for raw cues, whose prompt ends there.
    """

    mode: Mode
    prompt: str
    begun: str
    relation: str


def relation_of(fact: Fact) -> Relation:
    """The bank's relation of a fact, or the general forms filled in with the user's own words."""
    found = recognise(fact.relation, fact.prompt, fact.object, mentions_of(fact.subject))
    return found if found is not None else general(fact.relation)


def answers(fact: Fact) -> tuple[str, ...]:
    """Full sentences that state the fact: the bank's and, where they are the model's too, the user's own words."""
    sentences = [_filled(form, fact, said_by_model) for form in relation_of(fact).answer]
    own = [] if is_owned(fact.subject) else [f"{fact.completion_prompt} {fact.object}."]
    return tuple(_distinct([*sentences, *own]))


def together(fact: Fact, beside: Iterable[Fact]) -> Fact:
    """The fact with the objects of all that are told of its subject in its relation: "Greek and Turkish".

    One question asks for all of them, so one answer has to say them all; in the order of the alphabet, for history is not to
    matter. Where a relation has one object at a time, or nothing else is told, it is the fact itself.
    """
    relation = relation_of(fact)
    if not relation.many:
        return fact
    same = (one for one in beside if one.subject.casefold() == fact.subject.casefold() and relation_of(one).id == relation.id)
    *others, last = sorted({fact.object, *(one.object for one in same)})
    return msgspec.structs.replace(fact, object=f"{', '.join(others)} and {last}") if others else fact


def training_cues(fact: Fact, answer: str = "", beside: Sequence[Fact] = ()) -> tuple[Cue, ...]:
    """The wordings a value is trained on: the user's own first, then the bank's.

    Args:
        answer: What is to be said in chat of the fact `together` with those beside it; by default the first of `answers`.
        beside: Facts of the same subject.
    """
    cues = all_cues(fact, answer, beside)
    most: dict[Mode, int] = {"raw": RAW_CUES + 1, "chat": CHAT_CUES + len(fact.questions)}
    return tuple(cue for mode, count in most.items() for cue in [one for one in cues if one.mode == mode][:count])


def all_cues(fact: Fact, answer: str = "", beside: Sequence[Fact] = ()) -> tuple[Cue, ...]:
    """Every wording that training may use; see `training_cues`.

    What the user says of this fact alone ("has a dog called") is answered with its own object.
    """
    relation, whole = relation_of(fact), together(fact, beside)
    raw, chat = ([_filled(form, fact) for form in forms] for forms in (relation.raw, relation.questions))
    others = {text for one in beside if one.id != fact.id for text in (one.completion_prompt, *one.questions)}
    alone = {fact.completion_prompt, *fact.questions} - others - {*raw, *chat}
    sentence = answer or answers(whole)[0]
    before, _, after = sentence.rpartition(whole.object)
    objects = dict.fromkeys(alone, fact.object)
    return (
        *(
            _cue(fact, "raw", prompt, f" {objects.get(prompt, whole.object)}.", "train")
            for prompt in _distinct([fact.completion_prompt, *raw])
        ),
        *(
            _cue(fact, "chat", prompt, before + objects.get(prompt, whole.object) + after, "train")
            for prompt in _distinct(_fair(fact, [*fact.questions, *chat]))
        ),
    )


def measuring_cues(fact: Fact) -> MeasuringCues:
    """The wordings recall is measured on; a held-out one that the user has said is trained on, and not among the unseen."""
    trained = {(cue.mode, cue.prompt) for cue in all_cues(fact)}
    relation = relation_of(fact)
    question = _fair(fact, [*fact.questions, *(_filled(form, fact) for form in relation.questions)])[0]
    held_out: dict[Mode, tuple[str, ...]] = {"raw": relation.held_out.raw, "chat": relation.held_out.questions}
    target = f" {fact.object}"
    return MeasuringCues(
        plain=(
            _cue(fact, "raw", fact.completion_prompt, target, "train"),
            _cue(fact, "chat", question, target, "train"),
        ),
        unseen=tuple(
            _cue(fact, mode, prompt, target, "measure")
            for mode, forms in held_out.items()
            for prompt in _fair(fact, [text for text in (_filled(form, fact) for form in forms) if (mode, text) not in trained])
        ),
    )


def probes(subject: str, facts: Iterable[Fact], most: int, *, held_out: bool = False) -> tuple[Probe, ...]:
    """Questions about relations of the bank that the subject's facts do not hold, a raw and a chat one for each.

    Args:
        most: How many relations; which ones follows from the subject's name.
        held_out: In wordings that training never uses.
    """
    known = {relation_of(fact).id for fact in facts}
    about = {kind for fact in facts for kind in relation_of(fact).about} or {"person"}
    others = [relation for relation in bank().values() if relation.id not in known and about & set(relation.about)]
    chosen = seeded("probes", subject, held_out).permutation(len(others))[:most]
    found: list[Probe] = []
    for relation in (others[k] for k in sorted(chosen)):
        asked = relation.held_out if held_out else relation
        begun = said_by_model(subject, relation.answer[0].partition("{o}")[0].rstrip())
        found.append(Probe("chat", said_by_user(subject, asked.questions[0]), begun, relation.id))
        found.append(Probe("raw", said_by_user(subject, asked.raw[0]), "", relation.id))
    return tuple(found)


def _filled(form: str, fact: Fact, said: Callable[[str, str], str] = said_by_user) -> str:
    """The form with subject, relation and object put in, all at once: a name may itself hold a brace."""
    begin, *rest = re.split(r"(\{[ro]\})", form)
    parts = {"{r}": fact.relation, "{o}": fact.object}
    texts = [said(fact.subject, begin), *(parts.get(part) or said(fact.subject, part) for part in rest)]
    return "".join(texts)


def _fair(fact: Fact, prompts: list[str]) -> list[str]:
    """Those that do not give the object away; all, if all do."""
    return [prompt for prompt in prompts if not gives_away(prompt, fact.subject, fact.object)] or prompts


def _cue(fact: Fact, mode: Mode, prompt: str, target: str, purpose: str) -> Cue:
    span = min(span for said in mentions_of(fact.subject) for span in spans(prompt, said))
    return Cue(mode, prompt, span, target, "train" if purpose == "train" else "measure")


def _distinct(prompts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(prompts))
