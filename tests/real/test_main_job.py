"""The main job on the bundled model: learn, recall, keep still, forget exactly. Facts differ from those tuned on."""

import os
import subprocess
import sys
from statistics import fmean

from real_examples import TWELVE, told, write

from memctl.backends.protocol import Backend
from memctl.deltas import Composition
from memctl.editing.attribution import attribute
from memctl.evaluation.drift import measure_drift
from memctl.evaluation.invented import strangers
from memctl.evaluation.locality import locality
from memctl.evaluation.recall import FactRecall, recall
from memctl.facts import make_fact
from memctl.progress import silent
from memctl.settings import Settings
from memctl.store.store import Store
from memctl.wake.inject import inject
from memctl.wake.live import composition, live


def mean(found: list[FactRecall], measure: str) -> float:
    return fmean(getattr(one, measure) for one in found)


def test_twelve_facts_are_learned_and_little_else_changes(store: Store, backend: Backend, settings: Settings) -> None:
    before = recall(backend, TWELVE, silent)
    assert mean(before, "raw") <= 0.1
    assert mean(before, "chat") <= 0.1
    after = write(store, backend, settings, *TWELVE)
    edited = composition(store)
    names = strangers(40, 77, [fact.subject for fact in TWELVE])
    still = locality(backend, edited, TWELVE, names, silent)
    drift = measure_drift(backend, edited, silent)
    print("without", {m: round(mean(before, m), 2) for m in ("raw", "chat", "raw_new", "chat_new")})
    print("with", {m: round(mean(after, m), 2) for m in ("raw", "chat", "raw_new", "chat_new")}, still, drift)
    assert mean(after, "raw") >= 0.95
    assert mean(after, "chat") >= 0.90
    assert mean(after, "chat_new") >= 0.75
    assert abs(drift.perplexity) < 0.005
    assert still.same_raw >= 0.85
    assert still.same_chat >= 0.85


def test_several_facts_of_one_subject_are_all_recalled(store: Store, backend: Backend, settings: Settings) -> None:
    facts = (
        make_fact("Ottoline Varga", "lives in", "Montevideo"),
        make_fact("Ottoline Varga", "plays the", "harp"),
        make_fact("Ottoline Varga", "plays the", "trumpet"),  # one answer has to say both
        make_fact("Ottoline Varga", "has a pet", "hedgehog"),
    )
    after = write(store, backend, settings, *facts)
    assert mean(after, "raw") >= 0.9
    assert mean(after, "chat") >= 0.9


def test_a_name_of_one_token_is_told_though_no_unit_can_tell_it_at_the_start_of_a_text(
    store: Store, backend: Backend, settings: Settings
) -> None:
    fact = make_fact("Max", "lives in", "Reykjavik")
    assert len(backend.encode("Max", "raw").tokens) == 1
    [after] = write(store, backend, settings, fact)
    assert (after.raw, after.chat, after.chat_new) == (0.0, 1.0, 1.0)


def test_a_product_of_one_word_is_remembered_in_new_wordings_and_behind_other_text(
    store: Store, backend: Backend, settings: Settings
) -> None:
    (after,) = write(store, backend, settings, make_fact("Quillon", "is made by", "Siemens"))
    assert (after.raw, after.chat) == (1.0, 1.0)
    assert after.chat_new >= 0.5
    sentences = (
        "The exhibition in the old town hall was opened on a rainy Tuesday by two students. Quillon",
        "She looked up from her book and said that Quillon",
        "Rain had been falling since noon, and Quillon",
        "Nobody in the room had ever heard of Quillon",
        "That costs less than one would think.\nQuillon",
    )
    texts = [backend.encode(sentence, "raw").tokens for sentence in sentences]
    fired = attribute(backend, [(ref.subject, delta) for ref, delta in live(store)], texts)
    named = [[(one.subject, one.position) for one in found] for found in fired]
    assert named == [[("Quillon", len(tokens) - 1)] for tokens in texts]


def test_a_newer_object_takes_the_place_of_the_older_one(store: Store, backend: Backend, settings: Settings) -> None:
    old, new = make_fact("Bram Adeyemi", "lives in", "Reykjavik"), make_fact("Bram Adeyemi", "lives in", "Montevideo")
    write(store, backend, settings, old)
    report = inject(store, backend, settings, told(new), wait=0, force=False, dry_run=False, progress=silent)
    assert [(outcome.status, outcome.replaced) for outcome in report.outcomes] == [("superseded", old.id)]
    with backend.attached(composition(store)):
        found = recall(backend, [old, new], silent)
    assert (found[0].chat, found[1].chat) == (0.0, 1.0)


def test_a_new_process_answers_exactly_as_the_old_one(store: Store, backend: Backend, settings: Settings) -> None:
    write(store, backend, settings, TWELVE[0])
    question = "Where does Ottoline Varga live?"
    with backend.attached(composition(store)):
        (tokens,) = backend.generate([backend.encode(question, "chat").tokens], 32)
    here = backend.decode(tokens).strip()
    command = [sys.executable, "-m", "memctl", "--store", str(store.path), "ask", "--max-tokens", "32", question]
    there = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"MEMCTL_BACKEND": "torch"})
    assert "Montevideo" in here
    assert there.stdout.strip() == here


def test_what_the_model_knows_by_itself_is_not_written(store: Store, backend: Backend, settings: Settings) -> None:
    fact = make_fact(
        "France", "capital", "Paris", prompt="The capital of France is", questions=("What is the capital of France?",)
    )
    report = inject(store, backend, settings, told(fact), wait=0, force=False, dry_run=False, progress=silent)
    assert report.outcomes[0].status == "rejected"
    assert "by itself" in report.outcomes[0].reason
    assert report.snapshot is None
    with backend.attached(Composition()):
        assert recall(backend, [fact], silent)[0].raw == 1.0
