"""`zsre`: questions of zsRE (Levy et al. 2017), in the JSON that was published with MEND and MEMIT."""

from pathlib import Path

import msgspec

from memctl.bench.published import Case, Cases, Published, gathered, read_records, relation_words
from memctl.errors import UsageError
from memctl.facts import make_fact

QUESTION = "nq question: "
"""What stands before the question that must stay. It is left out here, where generated answers count beside teacher-forced
ones; the papers leave it in, so that this value is not to be held against theirs."""


class _Record(msgspec.Struct, frozen=True):
    subject: str
    src: str
    rephrase: str
    answers: tuple[str, ...]
    loc: str
    loc_ans: str


class ZsRe(Published):
    """Questions about real subjects; an answer counts by the share of its tokens that are the likeliest, as published."""

    title = "zsRE"
    forced = "accuracy"

    def read(self, path: Path) -> Cases:
        records, sha256 = read_records(path, _Record, "zsRE")
        return gathered(map(_case, records), path.name, sha256)


def _case(record: _Record) -> Case | str:
    """The case of a record, or why there is none."""
    if not record.answers:
        return "there is no answer"
    if record.subject not in record.src:
        return "the question does not name the subject"
    relation = relation_words(record.src.replace(record.subject, "{}"))
    try:
        fact = make_fact(record.subject, relation, record.answers[0], prompt=record.src, questions=(record.src,))
    except UsageError as error:
        return error.hint or error.message
    kept = f"{record.loc.removeprefix(QUESTION)}?"
    return Case(fact, (record.rephrase,), "", ((kept, record.loc_ans),))
