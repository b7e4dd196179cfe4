"""Ways to ask for a fact: for training, for measuring, and about everything else that is said of its subject.

Wordings come from the bank of relations and from the user. What training uses is never used to measure: the bank keeps
its held-out wordings apart.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

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
    found = recognise(fact.relation, fact.prompt)
    return found if found is not None else general(fact.relation)


def answers(fact: Fact) -> tuple[str, ...]:
    """Full sentences that state the fact: the bank's and, where they are the model's too, the user's own words."""
    sentences = [_filled(form, fact, said_by_model) for form in relation_of(fact).answer]
    own = [] if is_owned(fact.subject) else [f"{fact.completion_prompt} {fact.object}."]
    return tuple(_distinct([*sentences, *own]))


def training_cues(fact: Fact, answer: str = "") -> tuple[Cue, ...]:
    """The wordings a value is trained on: the user's own first, then the bank's.

    Args:
        answer: What is to be said in chat; by default the first of `answers`.
    """
    cues = all_cues(fact, answer)
    most: dict[Mode, int] = {"raw": RAW_CUES + 1, "chat": CHAT_CUES + len(fact.questions)}
    return tuple(cue for mode, count in most.items() for cue in [one for one in cues if one.mode == mode][:count])


def all_cues(fact: Fact, answer: str = "") -> tuple[Cue, ...]:
    """Every wording that training may use."""
    relation = relation_of(fact)
    raw = [fact.completion_prompt, *(_filled(form, fact) for form in relation.raw)]
    chat = [*fact.questions, *(_filled(form, fact) for form in relation.questions)]
    sentence = answer or answers(fact)[0]
    fair = [question for question in chat if not gives_away(question, fact.subject, fact.object)] or chat
    return (
        *(_cue(fact, "raw", prompt, f" {fact.object}.", "train") for prompt in _distinct(raw)),
        *(_cue(fact, "chat", prompt, sentence, "train") for prompt in _distinct(fair)),
    )


def measuring_cues(fact: Fact) -> MeasuringCues:
    """The wordings recall is measured on."""
    relation = relation_of(fact)
    question = fact.questions[0] if fact.questions else _filled(relation.questions[0], fact)
    target = f" {fact.object}"
    return MeasuringCues(
        plain=(
            _cue(fact, "raw", fact.completion_prompt, target, "train"),
            _cue(fact, "chat", question, target, "train"),
        ),
        unseen=(
            *(_cue(fact, "raw", _filled(form, fact), target, "measure") for form in relation.held_out.raw),
            *(_cue(fact, "chat", _filled(form, fact), target, "measure") for form in relation.held_out.questions),
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


def _cue(fact: Fact, mode: Mode, prompt: str, target: str, purpose: str) -> Cue:
    span = min(span for said in mentions_of(fact.subject) for span in spans(prompt, said))
    return Cue(mode, prompt, span, target, "train" if purpose == "train" else "measure")


def _distinct(prompts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(prompts))
