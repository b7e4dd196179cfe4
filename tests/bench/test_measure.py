"""Who is asked what when facts are measured."""

from memctl.bench.measure import least, of_some
from memctl.evaluation.invented import facts_on_each, people
from memctl.evaluation.recall import FactRecall


def test_a_subject_is_chosen_with_all_its_facts() -> None:
    facts = facts_on_each(12, 5, 3)
    first, _, third, _ = people(4, 5)
    assert of_some(facts, 2) == [fact for fact in facts if fact.subject in (first, third)]
    assert of_some(facts, 9) == list(facts)


def test_the_least_is_of_a_subject_not_of_a_fact() -> None:
    facts = facts_on_each(4, 5, 2)
    found = [FactRecall(raw, 1.0, 0.0, 0.0) for raw in (0.0, 1.0, 1.0, 1.0)]
    assert least(facts, found) == {"least_raw": 0.5, "least_chat": 1.0}
    assert least(facts[::2], found[::2]) == {}
