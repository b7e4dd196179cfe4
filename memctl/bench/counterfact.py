"""`counterfact`: records of CounterFact (Meng et al. 2022), in the JSON that was published with ROME and MEMIT."""

from pathlib import Path

import msgspec

from memctl.bench.published import Case, Cases, Published, gathered, read_records, relation_words
from memctl.errors import UsageError
from memctl.facts import make_fact


class _Text(msgspec.Struct, frozen=True):
    str: str


class _Rewrite(msgspec.Struct, frozen=True):
    prompt: str
    subject: str
    target_new: _Text
    target_true: _Text


class _Record(msgspec.Struct, frozen=True):
    requested_rewrite: _Rewrite
    paraphrase_prompts: tuple[str, ...]
    neighborhood_prompts: tuple[str, ...]


class CounterFact(Published):
    """False statements about real subjects; an answer counts as given where it is likelier than the true one."""

    title = "CounterFact"
    forced = "preference"

    def read(self, path: Path) -> Cases:
        records, sha256 = read_records(path, _Record, "CounterFact")
        return gathered(map(_case, records), path.name, sha256)


def _case(record: _Record) -> Case | str:
    """The case of a record, or why there is none."""
    rewrite = record.requested_rewrite
    if rewrite.prompt.count("{}") != 1:
        return "the prompt has no place for the subject"
    prompt = rewrite.prompt.replace("{}", rewrite.subject)
    try:
        fact = make_fact(rewrite.subject, relation_words(rewrite.prompt), rewrite.target_new.str.strip(), prompt=prompt)
    except UsageError as error:
        return error.hint or error.message
    old = rewrite.target_true.str.strip()
    return Case(fact, record.paraphrase_prompts, old, tuple((text, old) for text in record.neighborhood_prompts))
