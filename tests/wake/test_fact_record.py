"""Input facts: what a line may hold, and what a bad one is told."""

import pytest

from memctl.errors import UsageError
from memctl.wake.fact_record import read_fact

LINE = '"subject": "Priya Okonkwo", "relation": "lives in", "object": "Jakarta"'


def test_all_documented_fields_arrive() -> None:
    text = (
        f'{{{LINE}, "prompt": "Priya Okonkwo now lives in", "questions": ["Where is Priya Okonkwo?"],'
        ' "source": "mail", "time": "2025-01-31T12:00:00Z"}'
    )
    fact, provenance = read_fact(text, "facts.ndjson", 7)
    assert (fact.prompt, fact.questions) == ("Priya Okonkwo now lives in", ("Where is Priya Okonkwo?",))
    assert (provenance.source, provenance.line, provenance.time) == ("mail", 7, "2025-01-31T12:00:00Z")
    assert read_fact(f"{{{LINE}}}", "facts.ndjson", 7)[1].source == "facts.ndjson"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "no JSON"),
        ("[1, 2]", "object"),
        ('{"subject": "Priya", "relation": "lives in"}', "`object`"),
        (f'{{{LINE}, "colour": "teal"}}', "`colour`"),
        ('{"subject": "Priya", "relation": "lives in", "object": 3}', "$.object"),
        ('{"subject": "Priya", "relation": "lives in", "object": NaN}', "no JSON"),
        ('{"subject": " ", "relation": "lives in", "object": "Jakarta"}', "subject is empty"),
        ('{"subject": "%s", "relation": "lives in", "object": "Jakarta"}' % ("a" * 200_000), "200,000"),
        (f'{{{LINE}, "prompt": "Someone lives in"}}', "does not contain the subject"),
        (f'{{{LINE}, "questions": ["Does Priya Okonkwo live in Jakarta?"]}}', "gives the object away"),
        (f'{{{LINE}, "time": "yesterday"}}', "no time"),
        ('{"subject": "a\\u0007b", "relation": "lives in", "object": "Jakarta"}', "control character"),
    ],
)
def test_a_bad_line_is_told_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_fact(text, "stdin", 1)
    assert words in caught.value.message
