import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from bench_examples import ANA, DATA, ENGINE

from memctl.backends.protocol import Encoding
from memctl.bench.config import read_config
from memctl.bench.counterfact import CounterFact
from memctl.bench.forced import Question, preferred, token_accuracy
from memctl.bench.learners import UNEDITED
from memctl.bench.published import Published, PublishedConfig, relation_words
from memctl.bench.zsre import ZsRe
from memctl.deltas import Composition
from memctl.errors import UsageError

SUITES = {"counterfact": CounterFact, "zsre": ZsRe}


def suite(name: str, path: Path, sizes: tuple[int, ...] = (1,)) -> Published:
    config = read_config(PublishedConfig, name, None, {"sizes": sizes, "methods": ["memctl"]})
    return SUITES[name](config, path)


def test_counterfact_records_are_read() -> None:
    data = suite("counterfact", DATA / "counterfact.json").data
    case = data.cases[0]
    assert len(data.cases) == 5
    assert str(case.fact) == "Odile Marchetaux · mother tongue · Danish"
    assert case.fact.prompt == "The mother tongue of Odile Marchetaux is"
    assert case.old == "French"
    assert len(case.paraphrases) == 2
    assert case.neighbours[0] == ("The mother tongue of Benoit Lacroisade is", "French")


def test_zsre_records_are_read_with_the_first_answer_and_the_question_that_must_stay() -> None:
    data = suite("zsre", DATA / "zsre.json").data
    case = data.cases[1]
    assert len(data.cases) == 5
    assert (case.fact.object, case.fact.prompt) == ("Scotland", "In which country is Brindelmoor Castle?")
    assert case.fact.questions == ("In which country is Brindelmoor Castle?",)
    assert case.paraphrases == ("Where is Brindelmoor Castle located?",)
    assert case.neighbours == (("how many legs does a spider have?", "eight"),)


def test_records_that_make_no_case_are_counted_with_their_reason(tmp_path: Path) -> None:
    records = json.loads((DATA / "counterfact.json").read_bytes())
    records.append(records[0])
    records[1]["requested_rewrite"]["prompt"] = "nobody plays the"
    path = tmp_path / "some.json"
    path.write_text(json.dumps(records))
    found = suite("counterfact", path)
    assert len(found.data.cases) == 4
    assert sum(found.data.skipped.values()) == 2
    assert "2 left out" not in found.about  # each for its own reason
    assert "1 left out: the subject has such a fact already" in found.about


@pytest.mark.parametrize("name", SUITES)
@pytest.mark.parametrize(
    ("text", "wrong"),
    [("[{}]", r"\$\[0\]"), ("{}", "array"), ("nonsense", "format"), ("[]", "no record")],
)
def test_another_format_is_said_with_the_place(tmp_path: Path, name: str, text: str, wrong: str) -> None:
    path = tmp_path / "records.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=wrong):
        suite(name, path)


def test_more_edits_than_records_are_refused() -> None:
    with pytest.raises(UsageError, match="5 usable records"):
        suite("zsre", DATA / "zsre.json", (1, 6))


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("The mother tongue of {} is", "mother tongue"),
        ("{} was born in", "was born in"),
        ("{}'s occupation is", "occupation is"),
        ("What university did {} attend?", "university did attend"),
        ("{}, created by", "created by"),
        ("Where is {}?", "is"),
        ("Where is {}? It is located in", "is located in"),
        ("{}, who holds the position of", "holds the position of"),
        ("The headquarters of {} is in", "headquarters is in"),
        ("{}, whose headquarters are in", "headquarters are in"),
        ("What is the twin city of {}? It is", "twin city"),
        ("In {}, an official language is", "official language"),
        ("The law in {} declares the language", "law declares the language"),
    ],
)
def test_a_relation_is_named_by_the_words_around_the_subject(template: str, words: str) -> None:
    assert relation_words(template) == words


def test_an_answer_is_preferred_where_its_tokens_are_likelier_in_the_mean() -> None:
    prompt = ANA.completion_prompt
    nll = {}
    for answer in ("Oslo", "Rome"):
        whole, begin = ENGINE.encode(prompt, "raw", f" {answer}").tokens, len(ENGINE.encode(prompt, "raw").tokens)
        nll[answer] = np.mean(ENGINE.score([whole]).nll[begin - 1 :])
    better, worse = sorted(nll, key=lambda answer: nll[answer])
    asked = [Question("efficacy", prompt, better, worse), Question("efficacy", prompt, worse, better)]
    assert preferred(ENGINE, UNEDITED, asked) == [1.0, 0.0]


class Reciter:
    """An engine whose tokens are letters and that knows one text by heart."""

    def encode(self, prompt: str, mode: str, answer: str = "") -> Encoding:
        return Encoding(prompt + answer, tuple(map(ord, prompt + answer)), ())

    def generate(self, prompts: Sequence[tuple[int, ...]], max_tokens: int) -> list[tuple[int, ...]]:
        return [tuple(map(ord, "Ana lives in Oslo"[len(prompt) :][:max_tokens])) for prompt in prompts]

    def attached(self, composition: Composition) -> nullcontext[None]:
        return nullcontext()


def test_token_accuracy_is_the_share_of_tokens_that_are_the_likeliest() -> None:
    asked = [Question("efficacy", "Ana lives in", answer, "") for answer in ("Oslo", "Oman", "Rome")]
    assert token_accuracy(Reciter(), UNEDITED, asked) == [1.0, 0.4, 0.2]
