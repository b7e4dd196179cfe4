"""What a write does to the memory, on the numpy engine with short searches: what is composed follows from the set of facts."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from memctl.adapters import Adapter, Factors
from memctl.backends.numpy_backend import NumpyBackend
from memctl.backends.protocol import Encoding, Gradient, Row, Trial, ValueProblem
from memctl.deltas import Composition
from memctl.editing import preflight
from memctl.editing.edit import Found, find_traces
from memctl.editing.fold import weight_hashes
from memctl.editing.values import Subject
from memctl.errors import EditFailed, GateRefused, UsageError
from memctl.evaluation import drift
from memctl.evaluation.drift import Drift, measure_drift
from memctl.evaluation.recall import FactRecall
from memctl.facts import Fact, LedgerEntry, Mode, Provenance, make_fact
from memctl.progress import Progress, silent
from memctl.settings import EditSettings, Settings
from memctl.store.records import AdapterRef, BaseRef, Ledger
from memctl.store.store import Store
from memctl.store.verify import verify
from memctl.wake import draft
from memctl.wake import forget as forgetting
from memctl.wake import inject as writing
from memctl.wake.fact_record import Told
from memctl.wake.forget import forget
from memctl.wake.inject import InjectReport, inject
from memctl.wake.live import composed, composition, live
from memctl.wake.outcomes import sorted_out
from memctl.wake.verify_deep import verify_deep

QUICK = Settings(
    store="unused",
    backend="numpy",
    drift_budget=1e9,
    edit=EditSettings(steps=3, threshold=0.55, look_alikes=(3, 2), wordings=1, probes=1),
)
FACTS = (
    make_fact("Ana Lund", "lives in", "Oslo"),
    make_fact("Ben Lund", "lives in", "Rome"),
    make_fact("Ana Lund", "favorite color is", "teal"),
    make_fact("Cy Mori", "speaks", "Urdu"),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> NumpyBackend:
    return NumpyBackend()


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMCTL_CACHE", str(tmp_path_factory.getbasetemp() / "cache-of-memory-tests"))
    all_windows = drift.held_out_windows
    monkeypatch.setattr(drift, "held_out_windows", lambda backend: all_windows(backend)[:1])


def new_store(path: Path, engine: NumpyBackend) -> Store:
    return Store.create(path / "store", BaseRef("numpy", engine.fingerprint), backend="numpy")


def write(store: Store, engine: NumpyBackend, *facts: Fact, settings: Settings = QUICK, **options: bool) -> InjectReport:
    told = [Told(fact, Provenance(source="test")) for fact in facts]
    given = {"force": True, "dry_run": False} | options
    return inject(store, engine, settings, told, wait=0, progress=silent, **given)


def drop(store: Store, engine: NumpyBackend, *facts: Fact) -> None:
    forget(store, engine, QUICK, [fact.id for fact in facts], wait=0, dry_run=False, progress=silent)


@pytest.mark.parametrize("units", [2, 0])
def test_neither_order_nor_batch_nor_detours_show_in_the_composition(tmp_path: Path, engine: NumpyBackend, units: int) -> None:
    settings = msgspec.structs.replace(QUICK, edit=msgspec.structs.replace(QUICK.edit, units=units))
    together = new_store(tmp_path / "together", engine)
    write(together, engine, *FACTS, settings=settings)
    for seed in range(3 if units else 1):
        order = list(FACTS)
        random.Random(seed).shuffle(order)
        store = new_store(tmp_path / str(seed), engine)
        for fact in order:
            write(store, engine, fact, settings=settings)
        assert store.head().composition == together.head().composition
        assert store.head().weights == together.head().weights


def test_forgetting_leads_to_the_store_that_never_had_the_fact(tmp_path: Path, engine: NumpyBackend) -> None:
    without, store = new_store(tmp_path / "without", engine), new_store(tmp_path / "with", engine)
    empty = store.head()
    write(without, engine, *FACTS[1:])
    write(store, engine, *FACTS)
    drop(store, engine, FACTS[0])  # Ana keeps her other fact
    assert store.head().composition == without.head().composition
    drop(store, engine, *FACTS[1:])
    assert store.head().composition == empty.composition
    assert store.head().weights == {}
    assert verify_deep(store, engine) == []
    assert verify(store.path).findings == ()


def test_forget_says_which_snapshots_still_hold_the_fact(tmp_path: Path, engine: NumpyBackend) -> None:
    store = new_store(tmp_path, engine)
    write(store, engine, FACTS[0])
    holding = store.head().id
    write(store, engine, FACTS[3])
    report = forget(store, engine, QUICK, [FACTS[0].id[:6]], wait=0, dry_run=False, progress=silent)
    assert [entry.id for entry in report.forgotten] == [FACTS[0].id]
    assert set(report.still_in) == {holding, store.snapshot("HEAD~1").id}


def test_what_a_subject_keeps_is_read_back_after_a_forget(
    tmp_path: Path, engine: NumpyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    recalled = FactRecall(1.0, 0.5, 0.0, 0.0)
    ledgers = []
    for after in (recalled, FactRecall(0.0, 0.0, 1.0, 1.0)):
        store = new_store(tmp_path / str(after.raw), engine)
        monkeypatch.setattr(writing, "recall", lambda backend, facts, *rest: [recalled for _ in facts])
        monkeypatch.setattr(forgetting, "recall", lambda backend, facts, *rest, after=after: [after for _ in facts])
        write(store, engine, *FACTS)
        report = forget(store, engine, QUICK, [FACTS[0].id], wait=0, dry_run=False, progress=silent)
        ledgers.append((store.ledger(), report.lost))
    kept = FACTS[2].id
    assert [[len(entry.recalls) for entry in ledger.active()] for ledger, _ in ledgers] == [
        [2 if entry.id == kept else 1 for entry in ledger.active()] for ledger, _ in ledgers
    ]
    assert [ledger.entries[kept].recalls[-1].recall.raw for ledger, _ in ledgers] == [1.0, 0.0]
    assert [[entry.id for entry in lost] for _, lost in ledgers] == [[], [kept]]


def test_a_fact_told_twice_is_present_and_changes_nothing(tmp_path: Path, engine: NumpyBackend) -> None:
    store = new_store(tmp_path, engine)
    first = write(store, engine, FACTS[0], FACTS[0])
    assert [outcome.status for outcome in first.outcomes] == ["written", "present"]
    head = store.head().id
    assert [outcome.status for outcome in write(store, engine, FACTS[0]).outcomes] == ["present"]
    assert store.head().id == head


def test_another_object_supersedes_unless_the_relation_has_many(tmp_path: Path, engine: NumpyBackend) -> None:
    store, once = new_store(tmp_path / "a", engine), new_store(tmp_path / "b", engine)
    write(store, engine, FACTS[0])
    moved = make_fact("ana lund", "resides in", "Lima")
    report = write(store, engine, moved)
    assert [(outcome.status, outcome.replaced) for outcome in report.outcomes] == [("superseded", FACTS[0].id)]
    entry = store.ledger().entries[FACTS[0].id]
    assert (entry.state, entry.superseded_by) == ("superseded", moved.id)
    write(once, engine, moved)
    assert store.head().composition == once.head().composition
    also = write(store, engine, FACTS[3], make_fact("Cy Mori", "speaks", "Thai"))
    assert [outcome.status for outcome in also.outcomes] == ["written", "written"]


def test_of_two_lines_that_contradict_each_other_the_later_one_is_written(tmp_path: Path, engine: NumpyBackend) -> None:
    store = new_store(tmp_path, engine)
    report = write(store, engine, FACTS[0], make_fact("Ana Lund", "lives in", "Lima"))
    assert [outcome.status for outcome in report.outcomes] == ["rejected", "written"]
    assert [entry.fact.object for entry in store.ledger().active()] == ["Lima"]


@pytest.mark.parametrize(("relation", "object"), [("resides in", "Oslo"), ("lives in", "oslo"), ("lives in", "Oslo.")])
def test_the_same_in_other_words_is_there_already(relation: str, object: str) -> None:
    first, again = make_fact("Ana Lund", "lives in", "Oslo"), make_fact("Ana Lund", relation, object)
    told = [Told(fact, Provenance(source="test")) for fact in (first, again)]
    assert [(one.fact, one.status) for one in sorted_out(told, Ledger())] == [(first, "written"), (first, "present")]
    known = Ledger({first.id: LedgerEntry(first.id, first, Provenance())})
    (outcome,) = sorted_out(told[1:], known)
    assert (outcome.fact, outcome.status) == (first, "present")
    assert f"memctl forget {first.id}" in outcome.reason


def test_a_fact_that_is_told_again_after_its_opposite_holds(tmp_path: Path, engine: NumpyBackend) -> None:
    store = new_store(tmp_path, engine)
    report = write(store, engine, FACTS[0], make_fact("Ana Lund", "lives in", "Lima"), FACTS[0])
    assert [outcome.status for outcome in report.outcomes] == ["rejected", "rejected", "written"]


def test_a_change_beyond_the_drift_budget_is_not_kept(tmp_path: Path, engine: NumpyBackend) -> None:
    store = new_store(tmp_path, engine)
    head = store.head()
    strict = msgspec.structs.replace(QUICK, drift_budget=0.0, edit=msgspec.structs.replace(QUICK.edit, units=0))
    write(store, engine, FACTS[0], settings=strict, dry_run=True)
    with pytest.raises(GateRefused, match="budget"):
        _unforced(store, engine, strict)
    assert store.head() == head


def test_a_memory_that_is_beyond_the_budget_already_may_stay_as_it_was(
    tmp_path: Path, engine: NumpyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drifts(by: float) -> None:
        monkeypatch.setattr(writing, "measure_drift", lambda *given: Drift(by, 0.0, 1, 1, 0))

    store = new_store(tmp_path, engine)
    strict = msgspec.structs.replace(QUICK, drift_budget=0.005)
    drifts(0.008)  # as a night leaves it, whose budget is its own
    write(store, engine, FACTS[0])
    drifts(0.009)
    with pytest.raises(GateRefused, match=r"\+0.90% \(\+0.80% now\)"):
        _unforced(store, engine, strict, FACTS[3])
    drifts(0.008)
    _unforced(store, engine, strict, FACTS[3])
    assert len(store.ledger().active()) == 2


def _unforced(store: Store, engine: NumpyBackend, settings: Settings, fact: Fact = FACTS[0]) -> None:
    """Writes without --force something that can be read back, whatever the engine makes of it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"UNLEARNED": 1e9, "DAMAGE": 1.0, "AT_HOME": -1.0}.items():
            patch.setattr(preflight, name, value)
        patch.setattr(writing, "recall", lambda backend, facts, *rest: [FactRecall(0.0, 1.0, 1.0, 1.0) for _ in facts])
        write(store, engine, fact, settings=settings, force=False)


WEAK = msgspec.structs.replace(QUICK, edit=msgspec.structs.replace(QUICK.edit, steps=1))


def test_what_cannot_be_read_back_is_rejected(tmp_path: Path, engine: NumpyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "UNLEARNED", 1e9)
    monkeypatch.setattr(preflight, "DAMAGE", 1.0)  # so small a model hardly tells names from text
    store = new_store(tmp_path, engine)
    head = store.head()
    report = write(store, engine, FACTS[0], settings=WEAK, force=False)
    assert [outcome.status for outcome in report.outcomes] == ["rejected"]
    assert "read back" in report.outcomes[0].reason
    assert store.head() == head


def test_what_was_not_learned_is_rejected_before_it_is_read_back(tmp_path: Path, engine: NumpyBackend) -> None:
    store = new_store(tmp_path, engine)
    head = store.head()
    [outcome] = write(store, engine, FACTS[0], settings=WEAK, force=False).outcomes
    assert (outcome.status, outcome.after) == ("rejected", None)
    assert "not learned" in outcome.reason
    assert "--force" in outcome.reason
    assert store.head() == head
    forced = write(store, engine, FACTS[0], settings=WEAK, force=True)
    assert forced.outcomes[0].status == "written"
    assert forced.outcomes[0].preflight is not None
    assert "not learned" in forced.outcomes[0].preflight.refused


def test_a_refusal_takes_the_new_facts_of_that_subject_and_no_others(
    tmp_path: Path, engine: NumpyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = []

    def find(
        backend: NumpyBackend, subjects: list[Subject], edit: EditSettings, progress: Progress, known: dict[Subject, Found]
    ) -> list[Found]:
        searched.extend(subject.name for subject in subjects if subject not in known)
        found = find_traces(backend, subjects, edit, progress, known)
        return [replace(one, loss=9.0 if one.trace.subject == "Ana Lund" else 0.0) for one in found]

    monkeypatch.setattr(draft, "find_traces", find)
    monkeypatch.setattr(writing, "recall", lambda backend, facts, *rest: [FactRecall(0.0, 1.0, 1.0, 1.0) for _ in facts])
    store = new_store(tmp_path, engine)
    report = write(store, engine, FACTS[0], FACTS[2], FACTS[3], force=False)
    assert [outcome.status for outcome in report.outcomes] == ["rejected", "rejected", "written"]
    assert [ref.subject for ref in store.head().deltas] == ["Cy Mori"]
    assert sorted(searched) == ["Ana Lund", "Cy Mori"]  # nobody is searched twice


def test_a_line_told_twice_is_not_present_when_it_was_rejected(tmp_path: Path, engine: NumpyBackend) -> None:
    store = new_store(tmp_path, engine)
    snowman = make_fact("Dee Falk", "lives in", "☃")
    report = write(store, Faulty(), snowman, FACTS[3], snowman, FACTS[3])
    assert [outcome.status for outcome in report.outcomes] == ["rejected", "written", "rejected", "present"]
    assert report.outcomes[2].reason == report.outcomes[0].reason


def test_older_facts_that_a_write_would_lose_are_kept(
    tmp_path: Path, engine: NumpyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "UNLEARNED", 1e9)
    store = new_store(tmp_path, engine)
    monkeypatch.setattr(writing, "recall", lambda backend, facts, *rest: [FactRecall(1.0, 1.0, 1.0, 1.0) for _ in facts])
    write(store, engine, FACTS[0])
    head = store.head()
    lost = FactRecall(0.0, 0.0, 0.0, 0.0), FactRecall(0.0, 1.0, 1.0, 1.0)
    monkeypatch.setattr(writing, "recall", lambda backend, facts, *rest: [lost[one != FACTS[0]] for one in facts])
    [outcome] = write(store, engine, FACTS[2], force=False).outcomes  # of the same subject
    assert (outcome.status, store.head()) == ("rejected", head)
    assert str(FACTS[0]) in outcome.reason
    other = msgspec.structs.replace(QUICK, edit=msgspec.structs.replace(QUICK.edit, steps=2))
    with pytest.raises(GateRefused, match="settings have changed"):
        write(store, engine, FACTS[3], force=False, settings=other)
    assert store.head() == head


def test_strict_writes_nothing_when_one_fact_is_rejected(tmp_path: Path, engine: NumpyBackend) -> None:
    store = new_store(tmp_path, engine)
    head = store.head()
    report = write(store, engine, FACTS[0], make_fact("Ana Lund", "lives in", "Lima"), FACTS[3], strict=True)
    assert [outcome.status for outcome in report.outcomes] == ["rejected"] * 3
    assert report.snapshot is None
    assert store.head() == head


class Faulty(NumpyBackend):
    """Its tokenizer drops snowmen, and its gradients for Ben are no numbers. Counts the searches for values."""

    searches = 0

    def encode(self, prompt: str, mode: Mode, answer: str | None = None) -> Encoding:
        return super().encode(prompt.replace("☃", ""), mode, answer and answer.replace("☃", ""))

    def value_problem(self, subjects: Sequence[Sequence[Row]], layer: int) -> ValueProblem:
        self.searches += len(subjects)
        return _NoNumbers(super().value_problem(subjects, layer), ["Ben" in self.decode(rows[0].tokens) for rows in subjects])


class _NoNumbers:
    def __init__(self, problem: ValueProblem, broken: list[bool]) -> None:
        self.problem, self.broken = problem, broken

    def evaluate(self, trials: Sequence[Trial]) -> list[Gradient]:
        found = self.problem.evaluate(trials)
        for trial, gradient in zip(trials, found, strict=True):
            if self.broken[trial.subject]:
                gradient.gradient[:] = np.nan
        return found


def test_a_subject_without_an_edit_is_rejected_and_the_others_are_written(tmp_path: Path, engine: NumpyBackend) -> None:
    store, without = new_store(tmp_path / "a", engine), new_store(tmp_path / "b", engine)
    faulty = Faulty()
    told = (FACTS[0], FACTS[1], make_fact("Dee Falk", "lives in", "☃"), FACTS[3])
    report = write(store, faulty, *told)
    assert [outcome.status for outcome in report.outcomes] == ["written", "rejected", "rejected", "written"]
    assert "not finite" in report.outcomes[1].reason
    assert "not found again" in report.outcomes[2].reason
    assert faulty.searches == 3  # Dee's never began, and nobody's was made twice
    write(without, engine, FACTS[0], FACTS[3])
    assert store.head().composition == without.head().composition


def test_a_subject_that_has_an_edit_keeps_it_when_another_fact_of_it_fails(tmp_path: Path, engine: NumpyBackend) -> None:
    store = new_store(tmp_path, engine)
    write(store, engine, FACTS[0], FACTS[1], make_fact("Ben Lund", "speaks", "Urdu"))
    head = store.head()
    report = write(store, Faulty(), make_fact("Ana Lund", "favorite color is", "☃"))
    assert [outcome.status for outcome in report.outcomes] == ["rejected"]
    with pytest.raises(EditFailed, match="Ben Lund"):
        drop(store, Faulty(), FACTS[1])
    assert store.head() == head


def test_an_unknown_id_is_refused_before_anything_happens(tmp_path: Path, engine: NumpyBackend) -> None:
    store = new_store(tmp_path, engine)
    write(store, engine, FACTS[0])
    head = store.head()
    with pytest.raises(UsageError, match="no fact"):
        forget(store, engine, QUICK, [FACTS[0].id, "ffffffffffff"], wait=0, dry_run=False, progress=silent)
    assert store.head() == head


def test_other_settings_make_every_live_fact_anew(tmp_path: Path, engine: NumpyBackend) -> None:
    store, fresh = new_store(tmp_path / "a", engine), new_store(tmp_path / "b", engine)
    other = msgspec.structs.replace(QUICK, edit=msgspec.structs.replace(QUICK.edit, threshold=0.5))
    write(store, engine, FACTS[0])
    write(store, engine, FACTS[3], settings=other)
    write(fresh, engine, FACTS[0], FACTS[3], settings=other)
    assert store.head().composition == fresh.head().composition


def test_an_adapter_is_attached_kept_by_a_write_and_verified(tmp_path, engine):
    store = new_store(tmp_path, engine)
    write(store, engine, FACTS[0])
    path = "model.layers.3.mlp.down_proj"
    adapter = Adapter({path: Factors(np.ones((1, 512), np.float32), np.full((512, 1), 0.01, np.float32))})
    with store.writer(command="sleep") as writer:
        head = store.head()
        ref = AdapterRef((FACTS[0].id,), writer.put(adapter.to_bytes(), ".safetensors"), "s")
        attached = composed(live(store), adapter)
        weights = weight_hashes(engine, attached)
        writer.commit(ledger=store.ledger(), deltas=head.deltas, adapter=ref, weights=weights, metrics={}, message="learned")
    assert verify_deep(store, engine) == []
    write(store, engine, FACTS[1])
    found = composition(store)
    assert (store.head().adapter, len(found.deltas)) == (ref, 2)
    assert found.adapter is not None
    assert found.adapter.to_bytes() == adapter.to_bytes()
    assert verify_deep(store, engine) == []
    assert measure_drift(engine, Composition(adapter=adapter), silent).touched == 1
    assert composition(store, head).adapter is None
