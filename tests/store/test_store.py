"""Creating, opening, committing, going back, and what the history then says."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from store_examples import BASE, build, entry, tell_one, told

from memctl.errors import DamagedStore, MemctlError, NonFinite, StoreNotFound, UnknownFormat, UsageError
from memctl.store.diff import AdapterChange
from memctl.store.layout import sealed
from memctl.store.records import AdapterRef, BaseRef, DeltaRef, Ledger
from memctl.store.store import Store, diff
from memctl.store.verify import verify


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return build(tmp_path / "store", 3)


def test_a_new_store_is_empty_private_and_knows_its_base(tmp_path: Path) -> None:
    base = BaseRef(name='odd "name"\t\x7f', fingerprint="ab" * 32)
    store = Store.create(tmp_path / "deep" / "store", base, backend="mlx")
    assert (store.base, Store.open(store.path).base) == (base, base)
    assert store.config["settings"]["backend"] == "mlx"
    assert (store.head().command, store.head().parent, store.ledger()) == ("init", "", Ledger())
    assert store.path.stat().st_mode & 0o777 == 0o700


def test_create_refuses_a_store_and_a_folder_in_use(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="already"):
        Store.create(store.path, BASE)
    used = tmp_path / "used"
    used.mkdir()
    (used / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        Store.create(used, BASE)
    assert [path.name for path in used.iterdir()] == ["thesis.tex"]
    (tmp_path / "empty").mkdir()
    assert Store.create(tmp_path / "empty", BASE).head()


def test_open_says_how_to_make_a_store(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(StoreNotFound) as caught:
            Store.open(path)
        assert "memctl init" in caught.value.hint


@pytest.mark.parametrize("change", [("format = 1", "format = 2"), ("features = []", 'features = ["sharded"]')])
def test_a_newer_store_is_refused_and_no_damage(store: Store, change: tuple[str, str]) -> None:
    path = store.path / "memctl.toml"
    path.write_bytes(sealed(path.read_text().replace(*change).split("\n")[:-2]))
    with pytest.raises(UnknownFormat):
        Store.open(store.path)
    with pytest.raises(UnknownFormat):
        verify(store.path)


def test_commits_chain_and_reach_readers_and_ledger_json(store: Store) -> None:
    assert [snapshot.message for snapshot in store.log()] == [
        "Person 2 lives in Oslo",
        "Person 1 lives in Quito",
        "Person 0 lives in Jakarta",
        "empty memory",
    ]
    newest, older, *_ = store.log()
    assert (newest.parent, newest.command) == (older.id, "inject")
    assert told(store) == {"Person 0", "Person 1", "Person 2"}
    assert (store.path / "ledger.json").read_bytes() == store.read_object(newest.ledger)
    assert [delta.subject for delta in newest.deltas] == ["Person 0", "Person 1", "Person 2"]
    assert store.read_object(newest.deltas[0].object).startswith(b"delta of Person 0")


def test_a_commit_that_changes_nothing_makes_no_snapshot(store: Store) -> None:
    head = store.head()
    with store.writer() as writer:
        again = writer.commit(
            ledger=store.ledger(), deltas=reversed(head.deltas), weights={}, metrics={"x": 1.0}, message="again"
        )
        assert again == head
        assert writer.rollback("HEAD") == head
    assert store.head() == head


def test_two_commits_under_one_lock_chain(store: Store) -> None:
    before = store.head()
    with store.writer(command="import") as writer:
        for state in ("forgotten", "superseded"):
            entries = {id: msgspec.structs.replace(e, state=state) for id, e in store.ledger().entries.items()}
            writer.commit(ledger=Ledger(entries), deltas=(), weights={}, metrics={}, message=state)
    assert [snapshot.message for snapshot in store.log()][:2] == ["superseded", "forgotten"]
    assert store.snapshot("HEAD~2") == before


def test_forgetting_gives_the_composition_that_never_held_the_fact(store: Store) -> None:
    target = store.snapshot("HEAD~1")
    gone = next(told for told in store.ledger().active() if told.fact.subject == "Person 2")
    entries = store.ledger().entries | {gone.id: msgspec.structs.replace(gone, state="forgotten")}
    kept = [delta for delta in store.head().deltas if gone.id not in delta.facts]
    with store.writer() as writer:
        forgot = writer.commit(ledger=Ledger(entries), deltas=kept, weights={}, metrics={}, message="forget")
    assert forgot.composition == target.composition


def test_a_commit_that_contradicts_itself_is_refused(store: Store) -> None:
    head = store.head()
    fact = entry("Eve", "Split")
    ghost = DeltaRef(subject="Eve", facts=(fact.id,), object="0" * 64, settings="s")
    with store.writer() as writer:
        with pytest.raises(MemctlError, match="no delta carries"):
            writer.commit(ledger=Ledger({fact.id: fact}), deltas=(), weights={}, metrics={}, message="")
        with pytest.raises(DamagedStore, match="0000"):
            writer.commit(ledger=Ledger({fact.id: fact}), deltas=[ghost], weights={}, metrics={}, message="")
        with pytest.raises(NonFinite, match="drift"):
            writer.commit(ledger=Ledger(), deltas=(), weights={}, metrics={"drift": float("nan")}, message="")
        with pytest.raises(UsageError, match="UTF-8"):
            writer.commit(ledger=Ledger(), deltas=(), weights={}, metrics={}, message="\udcff")
    assert store.head() == head
    assert verify(store.path).findings == ()


def test_an_exception_in_the_block_abandons_what_was_put(store: Store) -> None:
    head = store.head()

    def killed_sleep() -> None:
        with store.writer() as writer:
            writer.put(b"half a sleep", ".safetensors")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed_sleep()
    assert store.head() == head
    with store.writer() as writer:
        assert len(writer.gc().objects) == 1


def test_rollback_is_a_snapshot_that_can_be_rolled_back(store: Store) -> None:
    newest, target = store.snapshot("HEAD"), store.snapshot("HEAD~2")
    with store.writer(command="rollback") as writer:
        back = writer.rollback("HEAD~2", "too much")
    assert (back.parent, back.message, back.composition) == (newest.id, "too much", target.composition)
    assert (back.weights, back.metrics) == (target.weights, target.metrics)
    assert told(store) == {"Person 0"}
    with store.writer() as writer:
        again = writer.rollback(newest.id[:8])
    assert again.composition == newest.composition
    assert newest.id[:12] in again.message
    assert told(store) == {"Person 0", "Person 1", "Person 2"}


def test_diff_lists_facts_and_deltas(store: Store) -> None:
    first, head = store.snapshot("HEAD~2"), store.head()
    changed = diff(store, first, head)
    assert [told.fact.subject for told in changed.facts_added] == [
        store.ledger().entries[id].fact.subject
        for id in sorted(store.ledger().entries.keys() - store.ledger(first).entries.keys())
    ]
    assert [delta.subject for delta in changed.deltas_added] == ["Person 1", "Person 2"]
    back = diff(store, head, first)
    assert (back.facts_removed, back.deltas_removed) == (changed.facts_added, changed.deltas_added)
    assert not diff(store, head, head)


def test_diff_sees_stage_and_scale(store: Store) -> None:
    before = store.head()
    id, known = min(store.ledger().entries.items())
    entries = store.ledger().entries | {id: msgspec.structs.replace(known, stage=1, scale=0.5)}
    deltas = [msgspec.structs.replace(d, scale=0.5) if id in d.facts else d for d in before.deltas]
    with store.writer() as writer:
        after = writer.commit(ledger=Ledger(entries), deltas=deltas, weights={}, metrics={}, message="sleep")
    changed = diff(store, before, after)
    assert [(c.before.stage, c.after.stage) for c in changed.facts_changed] == [(0, 1)]
    assert [(c.before.scale, c.after.scale) for c in changed.deltas_changed] == [(1.0, 0.5)]
    assert not changed.facts_added


def test_time_goes_forward_even_if_the_clock_does_not(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memctl.store.writer.now", lambda: "1999-12-31T23:59:59.000Z")
    tell_one(store, 7)
    newest, older, *_ = store.log()
    assert newest.time > older.time


@pytest.mark.parametrize("name", ["HEAD", "head", "@{1d}", "deadbeef", "abc", "a~1", "", "-x", "two words", "x" * 65, "a/b"])
def test_a_tag_cannot_look_like_another_revision(store: Store, name: str) -> None:
    with store.writer() as writer, pytest.raises(UsageError):
        writer.tag(name, "HEAD")


def test_tags_move_and_go(store: Store) -> None:
    with store.writer() as writer:
        writer.tag("release-1.0", "HEAD~1")
        writer.tag("release-1.0", "HEAD~2")
        writer.tag("later", "release-1.0~1")
    assert store.tags() == {"later": store.snapshot("HEAD~3").id, "release-1.0": store.snapshot("HEAD~2").id}
    with store.writer() as writer:
        writer.untag("later")
        with pytest.raises(UsageError, match="later"):
            writer.untag("later")
    assert list(store.tags()) == ["release-1.0"]


def test_opening_a_store_loads_nothing_heavy(store: Store) -> None:
    heavy = ("torch", "transformers", "numpy", "scipy", "rich", "filelock", "safetensors")
    script = (
        "import sys; from memctl.store.store import Store; from memctl.store.verify import verify;"
        f"store = Store.open({str(store.path)!r}); list(store.log()); store.ledger(); verify(store.path);"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_adapter_is_a_part_of_the_composition(store: Store) -> None:
    """It is named by the snapshot, found by diff and verify, kept by gc, and gone after a rollback."""
    before = store.head()
    ledger = store.ledger()
    carried = tuple(sorted(ledger.entries))
    entries = {id: msgspec.structs.replace(told, stage=3, scale=0.0) for id, told in ledger.entries.items()}
    with store.writer() as writer:
        ref = AdapterRef(facts=carried, object=writer.put(b"an adapter", ".safetensors"), settings="s")
        slept = writer.commit(ledger=Ledger(entries), deltas=(), adapter=ref, weights={}, metrics={}, message="sleep")
        again = writer.commit(ledger=Ledger(entries), deltas=(), adapter=ref, weights={}, metrics={}, message="again")
        assert again == slept
        assert ref.object not in writer.gc().objects
    assert slept.adapter == ref
    assert slept.composition != before.composition
    changed, back = diff(store, before, slept), diff(store, slept, before)
    assert changed.adapter == AdapterChange(None, ref)
    assert back.adapter == AdapterChange(ref, None)
    assert diff(store, before, before).adapter is None
    with store.writer() as writer:
        assert writer.rollback(before.id).composition == before.composition
        assert writer.rollback(slept.id).adapter == ref
    path = store.layout.find_object(ref.object)
    path.chmod(0o644)
    path.write_bytes(b"an Adapter")
    assert ref.object in verify(store.path).findings[0].path
    with store.writer() as writer, pytest.raises(DamagedStore):
        writer.rollback(slept.id)


def test_an_adapter_that_is_not_in_the_store_is_refused(store: Store) -> None:
    ghost = AdapterRef(facts=(), object="0c" * 32, settings="s")
    head = store.head()
    with store.writer() as writer, pytest.raises(DamagedStore):
        writer.commit(ledger=store.ledger(), deltas=head.deltas, adapter=ghost, weights={}, metrics={}, message="ghost")
    assert store.head() == head
