"""What an adapter is trained on: facts in many wordings, and everything that is to stay as it is.

A pathway that is trained without counter-examples answers to everybody: with questions about unknown people held to the base
in chat alone, 92 % of them "lived" in a stored city when a raw text asked. So whatever is taught raw and in chat is held
raw and in chat: look-alikes of the subject in the same wordings, other people, and other relations of the subject itself.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from memctl.backends.protocol import Backend, Lesson
from memctl.editing.cues import Probe, all_cues, relation_of, together
from memctl.editing.reference import reference
from memctl.editing.relations import bank
from memctl.editing.subjects import invented, look_alikes, seeded
from memctl.editing.values import natural_answer, probe_row, target_row
from memctl.facts import Cue, Fact, Mode, spans
from memctl.first_person import mentions_of, said_by_model, said_by_user
from memctl.progress import Progress
from memctl.settings import LoraSettings

CHECKED: dict[Mode, int] = {"raw": 1, "chat": 2}
"""Training wordings of each mode that are left out and tell when a fact has been learned beyond its wordings."""

SAME_NAME = 2 / 3
"""Share of the look-alikes that have the subject's last word; the others have its first."""

PASSAGE = 48
"""Tokens of a passage of reference text, each of which is scored; of a conversation, after what opens every one."""


@dataclass(frozen=True)
class Curriculum:
    """All lessons, and the numbers of those of each kind.

    Attributes:
        taught: For each fact its lessons.
        checked: For each fact lessons in wordings that it is not taught in.
        kept: Lessons that are held to the base, by kind.
    """

    lessons: tuple[Lesson, ...]
    taught: tuple[tuple[int, ...], ...]
    checked: tuple[tuple[int, ...], ...]
    kept: dict[str, tuple[int, ...]]


def curriculum(backend: Backend, facts: Sequence[Fact], settings: LoraSettings, progress: Progress) -> Curriculum:
    """The lessons for facts; which people and passages are among them follows from the facts' ids."""
    lessons: list[Lesson] = []

    def add(made: Sequence[Lesson]) -> tuple[int, ...]:
        lessons.extend(made)
        return tuple(range(len(lessons) - len(made), len(lessons)))

    by_subject: dict[str, list[Fact]] = {}
    for fact in facts:
        by_subject.setdefault(fact.subject, []).append(fact)
    taught, checked = [], []
    kept: dict[str, tuple[int, ...]] = {"names": (), "relations": ()}
    for done, fact in enumerate(facts):
        progress("writing lessons", done, len(facts))
        beside = by_subject[fact.subject]
        cues = all_cues(fact, natural_answer(backend, together(fact, beside)), beside)
        tests = [cue for mode, count in CHECKED.items() for cue in [c for c in cues if c.mode == mode][-count:]]
        taught.append(add([_taught(backend, cue, fact.subject) for cue in cues if cue not in tests]))
        checked.append(add([_taught(backend, cue, fact.subject) for cue in tests]))
        kept["names"] += add(_other_people(backend, fact, set(by_subject), settings))
    for subject, own in by_subject.items():
        kept["relations"] += add([_held(backend, probe, subject) for probe in _other_relations(subject, own, settings.probes)])
    kept["text"] = add(_passages(backend, facts, settings, progress))
    return Curriculum(tuple(lessons), tuple(taught), tuple(checked), kept)


def _taught(backend: Backend, cue: Cue, subject: str) -> Lesson:
    row = target_row(backend, cue, subject)
    return Lesson(row.tokens, row.predict)


def _other_people(backend: Backend, fact: Fact, stored: Container[str], settings: LoraSettings) -> list[Lesson]:
    """The fact's wordings about people who are not stored: the base's chances from where an answer begins to its object."""
    random = seeded("other people", fact.id)
    count = settings.look_alikes
    same_last = round(count * SAME_NAME)
    alike = look_alikes(fact.subject, same_last, count - same_last)
    others = invented(settings.strangers, "consolidation", fact.id)
    relation = relation_of(fact)
    own = [_unfilled(prompt, fact.subject) for prompt in (fact.completion_prompt, *fact.questions)]
    forms: dict[Mode, tuple[str, ...]] = {"raw": (own[0], *relation.raw), "chat": (*own[1:], *relation.questions)}
    begun = relation.answer[0].partition("{o}")[0].rstrip()
    lessons = []
    for name in (name for name in (*alike, *others) if name not in stored):
        for mode, known in forms.items():
            fair = [form for form in known if "{s}" in form]
            prompt = said_by_user(name, fair[int(random.integers(len(fair)))])
            answer = said_by_model(name, begun) if mode == "chat" else ""
            lessons.append(_held(backend, Probe(mode, prompt, answer, relation.id), name))
    return lessons


def _unfilled(prompt: str, subject: str) -> str:
    """A prompt as a form, with `{s}` where it mentions the subject."""
    form, done = "", 0
    for start, end in sorted(span for mention in mentions_of(subject) for span in spans(prompt, mention)):
        if start >= done:  # "Boo Boo" is twice in "Boo Boo Boo"
            form, done = f"{form}{prompt[done:start]}{{s}}", end
    return form + prompt[done:]


def _other_relations(subject: str, facts: Sequence[Fact], most: int) -> list[Probe]:
    """Questions about other relations of a subject, each in a wording drawn from all that training may use.

    What is learned from one subject's wordings holds for all: so they differ from subject to subject.
    """
    random = seeded("other relations", subject)
    known = {relation_of(fact).id for fact in facts}
    about = {kind for fact in facts for kind in relation_of(fact).about} or {"person"}
    others = [relation for relation in bank().values() if relation.id not in known and about & set(relation.about)]
    found = []
    for relation in (others[k] for k in random.permutation(len(others))[:most]):
        begun = said_by_model(subject, relation.answer[0].partition("{o}")[0].rstrip())
        question, text = (said_by_user(subject, str(random.choice(forms))) for forms in (relation.questions, relation.raw))
        found += [Probe("chat", question, begun, relation.id), Probe("raw", text, "", relation.id)]
    return found


def _held(backend: Backend, probe: Probe, subject: str) -> Lesson:
    """From where an answer begins to the place of the object."""
    row = probe_row(backend, probe, subject)
    first = row.predict[0]
    if probe.mode == "chat":
        asked = backend.encode(probe.prompt, "chat").tokens
        first = next((k for k, (a, b) in enumerate(zip(asked, row.tokens, strict=False)) if a != b), len(asked)) - 1
    return Lesson(row.tokens, tuple(range(first, row.predict[-1] + 1)), to_base=True)


def _passages(backend: Backend, facts: Sequence[Fact], settings: LoraSettings, progress: Progress) -> list[Lesson]:
    random = seeded("passages", *(fact.id for fact in facts))
    texts = reference(backend, progress)
    a, b = (backend.encode(turn, "chat").tokens for turn in ("a", "b"))
    opening = a[: next(k for k, (one, other) in enumerate(zip(a, b, strict=False)) if one != other)]
    lessons = []
    for k in random.permutation(len(texts))[: settings.passages]:
        begin = len(opening) if texts[k][: len(opening)] == opening else 0
        passage = texts[k][: begin + PASSAGE]
        if len(passage) > begin + 1:
            lessons.append(Lesson(passage, tuple(range(begin, len(passage))), to_base=True))
    return lessons
