"""Sleep on the bundled model: after three nights the adapter alone carries the facts, and the edits are gone."""

from real_examples import TWELVE, write

from memctl.backends.protocol import Backend
from memctl.editing.cues import measuring_cues
from memctl.evaluation.recall import recall
from memctl.progress import silent
from memctl.settings import Settings
from memctl.sleep.pipeline import sleep
from memctl.store.store import Store
from memctl.wake.answer import Prompt, answer
from memctl.wake.live import composition, taken_over
from memctl.wake.verify_deep import verify_deep
from memctl.wake.why import why


def test_three_nights_carry_facts_over_and_a_fourth_changes_nothing(store: Store, backend: Backend, settings: Settings) -> None:
    facts = TWELVE[:3]
    write(store, backend, settings, *facts)
    awake = store.head()
    for night in (1, 2, 3):
        found = sleep(store, lambda: backend, settings, ids=None, wait=0.0, max_time=None, progress=silent)
        assert found.refusal is None, found
        assert {entry.stage for entry in store.ledger().active()} == {night}
    head = store.head()
    assert head.deltas == ()
    assert head.adapter is not None
    assert abs(head.metrics["drift"]) < 0.01
    with backend.attached(composition(store)):
        assert all((one.raw, one.chat) == (1.0, 1.0) for one in recall(backend, facts, silent))
    assert verify_deep(store, backend) == []
    prompts = [Prompt(cue.prompt, cue.mode) for fact in facts for cue in measuring_cues(fact).plain]
    told = answer(backend, composition(store), prompts, 16)
    reasons = why(backend, taken_over(store), store.ledger(), told)
    assert [[fact.entry.id for fact in found] for found in reasons] == [[fact.id] for fact in facts for _ in ("raw", "chat")]
    sleep(store, lambda: backend, settings, ids=None, wait=0.0, max_time=None, progress=silent)
    assert store.head() == head
    with store.writer(command="rollback") as writer:
        writer.rollback(awake.id)
    assert store.head().composition == awake.composition
