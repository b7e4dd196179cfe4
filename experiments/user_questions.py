"""Questions about the user in person, and about everybody else: what readers of the former are trained and tested on."""

import json
import re
from pathlib import Path
from typing import NamedTuple

from first_person_wordings import in_person, of_the_model
from further_wordings import further_wordings, too_near

from memctl.editing.relations import bank
from memctl.editing.subjects import contexts, names, seeded
from memctl.evaluation.questions import questions as shipped

RELATIVES = ("sister", "brother", "mother", "boss", "uncle", "friend", "neighbour", "wife", "husband", "daughter", "son")
random = seeded("user in person")


class Question(NamedTuple):
    """`about` is whom a question asks about: `user`, `user, unknown relation`, `other`, `model` or `nobody`."""

    relation: str
    about: str
    held_out: bool
    text: str


def somebody() -> str:
    """A person, somebody of the user's, or a first name."""
    pool, kind = names(), random.integers(6)
    if kind == 3:
        return f"my {random.choice(RELATIVES)}"
    first = str(random.choice(pool.first))
    return f"{first} {random.choice(pool.last)}" if kind < 3 else f"my friend {first}" if kind == 4 else first


def questions() -> list[Question]:
    """All that readers are trained and tested on; of held-out wordings nothing is trained that is nearly one."""
    further, found = further_wordings(more=True), []
    for relation in bank().values():
        user = relation.first_person
        asked = list(user.held_out.questions) if user else []
        held = [*relation.held_out.questions, *asked]
        more = [text for text in further.get(relation.id, {"questions": []})["questions"] if not too_near(text, held)]
        if user:
            put = (in_person(text) for text in (*relation.questions, *more))
            own = [*user.questions, *(text for text in put if text and not too_near(text, asked))]
            found += [Question(relation.id, "user", False, text) for text in dict.fromkeys(own)]
            found += [Question(relation.id, "user", True, text) for text in asked]
            found += [Question(relation.id, "model", False, of_the_model(text)) for text in user.questions]
            found += [Question(relation.id, "model", True, of_the_model(text)) for text in asked]
        third = [*relation.questions, *(more[k] for k in random.permutation(len(more))[:14])]
        found += [Question(relation.id, "other", False, text.replace("{s}", somebody())) for text in third]
        for text in relation.held_out.questions * 2:
            found.append(Question(relation.id, "other", True, text.replace("{s}", somebody())))
    for key, one in further.items():
        if key in bank():
            continue
        found += [Question(key, "other", False, text.replace("{s}", somebody())) for text in one["questions"][:12]]
        if "person" in one["about"]:
            for k, text in enumerate(one["questions"][:16]):
                if put_so := in_person(text):
                    found.append(Question(key, "user, unknown relation", k >= 12, put_so))
    found += [Question("", "nobody", True, text) for text in general()]
    trained = json.loads((Path(__file__).parent / "general_questions.json").read_text(encoding="utf-8"))
    about_nobody = [text for text in trained["general"] + trained["identity"] if not too_near(text, general())]
    found += [Question("", "nobody", False, text) for text in about_nobody]
    found += [Question("", "nobody", False, text.replace("{s}", somebody())) for text in contexts().chat]
    known, own = {one.text for one in found}, [one for one in found if one.about == "user" and not one.held_out]
    put_to_it = [Question(one.relation, "model", False, of_the_model(one.text)) for one in own]
    found += [one for one in put_to_it if one.text not in known and not re.search(r"\b(I|me|[Mm]y)\b", one.text)]
    return found


def general() -> list[str]:
    """Questions about nobody, and questions about the model."""
    return [*(question for question, _ in shipped().general), *shipped().identity]


def with_more() -> list[Question]:
    """The same with 1,600 further questions of the first person (`first_person_questions.json`), and half of them asked about
    the model; of held-out wordings none that is nearly one."""
    found = questions()
    for key, texts in json.loads((Path(__file__).parent / "first_person_questions.json").read_text(encoding="utf-8")).items():
        user = bank()[key].first_person
        assert user is not None
        kept = [text for text in texts if not too_near(text, [*bank()[key].held_out.questions, *user.held_out.questions])]
        found += [Question(key, "user", False, text) for text in kept]
        put_to_it = [of_the_model(text) for text in kept[::2]]
        found += [Question(key, "model", False, text) for text in put_to_it if not re.search(r"\b(I|me|[Mm]y|mine)\b", text)]
    return found
