"""Every flipped bit, cut and deletion is found and named; what can be rebuilt is."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from store_examples import BASE, build, tell_one, told

from memctl.errors import DamagedStore, StoreNotFound, UnknownFormat
from memctl.store.encoding import encode
from memctl.store.records import BaseRef, snapshot_id
from memctl.store.store import Store
from memctl.store.verify import Finding, verify

TRIALS = 300


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = build(tmp_path / "store", 9)
    with store.writer() as writer:
        writer.tag("v1", "HEAD~3")
        writer.rollback("HEAD~2")
        writer.tag("v2", "HEAD")
    tell_one(store, 20)
    with store.writer() as writer:
        writer.gc(keep_last=9)
    for turn in range(4):
        store.journal.append({"turn": turn, "text": "caf\u00e9"})
    report = verify(store.path)
    assert (report.findings, report.notes) == ((), ())
    return store


def content(store: Store) -> list[Path]:
    """Every file of a store but the lock files, which are no content."""
    files = (path for path in store.path.rglob("*") if path.is_file() and path.name != "lock")
    return sorted(files)


def overwrite(path: Path, data: bytes) -> None:
    """Changes a file behind the store's back, its permissions unchanged."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(mode)


def names(findings: tuple[Finding, ...], store: Store, path: Path) -> bool:
    """Whether a finding names the file; a missing object is named without its suffix, which nobody knows."""
    name = str(path.relative_to(store.path))
    return any(finding.path in (name, name.partition(".")[0]) for finding in findings)


def found(store: Store, path: Path) -> bool:
    """Whether a check names the file; a bit of `format = 1` can make another version of it, which ends the check."""
    try:
        return names(verify(store.path).findings, store, path)
    except UnknownFormat as error:
        return path.name in error.message


def test_every_random_damage_is_found_and_named(store: Store) -> None:
    chance = random.Random(20)
    files = content(store)
    assert {path.name for path in files} >= {
        "memctl.toml",
        "HEAD",
        "tags",
        "shallow",
        "ledger.json",
        "position",
    }
    for trial in range(TRIALS):
        path = files[trial % len(files)]
        data, mode = path.read_bytes(), path.stat().st_mode
        kind = chance.choice(["flip", "flip", "flip", "cut", "delete"])
        if kind == "flip":
            at = chance.randrange(len(data) * 8)
            overwrite(path, bytes(byte ^ (at // 8 == i) << at % 8 for i, byte in enumerate(data)))
        elif kind == "cut":
            overwrite(path, data[: chance.randrange(len(data))])
        else:
            path.unlink()
        assert found(store, path), (kind, path)
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
    assert verify(store.path).findings == ()


@pytest.mark.parametrize("name", ["HEAD", "tags", "shallow", "memctl.toml", "journal/position"])
def test_every_single_bit_of_the_small_files_is_covered(store: Store, name: str) -> None:
    path = store.path / name
    data = path.read_bytes()
    for at in range(0, len(data) * 8, 5):
        overwrite(path, bytes(byte ^ (at // 8 == i) << at % 8 for i, byte in enumerate(data)))
        assert found(store, path), at


def test_last_good_is_the_newest_snapshot_that_is_intact(store: Store) -> None:
    head, parent, *_ = store.log()
    newest = store.layout.find_object(head.ledger)
    overwrite(newest, newest.read_bytes()[:-1])
    report = verify(store.path)
    assert [finding.path for finding in report.findings] == [str(newest.relative_to(store.path))]
    assert report.last_good == parent.id
    with pytest.raises(DamagedStore, match=head.ledger):
        store.ledger()
    with store.writer() as writer:
        writer.rollback(report.last_good)
    assert store.ledger() == store.ledger(parent)


def test_rollback_gets_past_a_damaged_head_manifest(store: Store) -> None:
    manifest = store.layout.snapshot(store.head().id)
    overwrite(manifest, manifest.read_bytes().replace(b"inject", b"eject!"))
    with pytest.raises(DamagedStore, match=r"snapshots/"):
        store.head()
    good = verify(store.path).last_good
    with store.writer() as writer:
        rolled = writer.rollback(good)
    assert [snapshot.id for snapshot in store.log()][:2] == [rolled.id, good]
    with store.writer() as writer:
        writer.gc()
    assert verify(store.path).findings == ()


def test_a_writer_will_not_build_on_a_damaged_head(store: Store) -> None:
    store.layout.snapshot(store.head().id).unlink()
    with pytest.raises(DamagedStore), store.writer() as writer:
        writer.commit(ledger=store.ledger(), deltas=(), weights={}, metrics={}, message="on sand")


def test_writing_an_object_again_heals_it(store: Store) -> None:
    with store.writer() as writer:
        sha = writer.put(b"delta", ".safetensors")
        overwrite(store.layout.find_object(sha), b"delte")
        with pytest.raises(DamagedStore, match=sha):
            store.read_object(sha)
        assert writer.put(b"delta", ".safetensors") == sha
    assert store.read_object(sha) == b"delta"


def test_a_manifest_that_contradicts_its_ledger_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memctl.store.writer.contradictions", lambda *_: [])
    with store.writer() as writer:
        made = writer.commit(ledger=store.ledger(), deltas=(), weights={}, metrics={}, message="lost all deltas")
    report = verify(store.path)
    assert {(finding.path, finding.kind) for finding in report.findings} == {(f"snapshots/{made.id}.json", "ledger")}
    assert len(report.findings) == len(store.ledger().active())
    assert report.last_good == made.parent


def test_a_composition_that_is_not_its_deltas_is_found(store: Store) -> None:
    draft = msgspec.structs.replace(store.head(), composition="0" * 64)
    made = msgspec.structs.replace(draft, id=snapshot_id(draft))
    path = store.layout.snapshot(made.id)
    path.write_bytes(encode(made))
    path.chmod(0o444)
    overwrite(store.path / "HEAD", f"{made.id}\n".encode())
    (finding,) = verify(store.path).findings
    assert (finding.path, finding.kind) == (f"snapshots/{made.id}.json", "composition")


def test_repair_rebuilds_ledger_modes_and_temporaries(store: Store) -> None:
    (store.path / "ledger.json").write_bytes(b"{}")
    writable = store.layout.find_object(store.head().ledger)
    writable.chmod(0o644)
    for folder in ("objects/" + writable.parent.name, "journal", "snapshots", "."):
        (store.path / folder / ".x.1-2.tmp").write_bytes(b"half")
    report = verify(store.path)
    assert [(finding.kind, finding.repairable) for finding in report.findings] == [("ledger", True)]
    assert sorted(note.kind for note in report.notes) == ["mode", *["temporary"] * 4]
    repaired = verify(store.path, repair=True)
    assert (repaired.findings, repaired.notes, len(repaired.repaired)) == ((), (), 6)
    assert (store.path / "ledger.json").read_bytes() == store.read_object(store.head().ledger)


def test_repair_leaves_what_it_cannot_rebuild(store: Store) -> None:
    damaged = store.layout.find_object(store.head().deltas[0].object)
    overwrite(damaged, b"noise")
    report = verify(store.path, repair=True)
    assert not report.repaired
    assert names(report.findings, store, damaged)


def test_an_edited_config_works_is_reported_and_can_be_accepted(store: Store) -> None:
    path = store.path / "memctl.toml"
    path.write_text(path.read_text().replace('backend = "torch"', 'backend = "mlx"'))
    assert Store.open(store.path).config["settings"]["backend"] == "mlx"
    (finding,) = verify(store.path).findings
    assert (finding.path, finding.repairable) == ("memctl.toml", True)
    assert verify(store.path, repair=True).findings == ()
    assert Store.open(store.path).config["settings"]["backend"] == "mlx"


def test_a_config_of_another_base_is_never_accepted(store: Store) -> None:
    path = store.path / "memctl.toml"
    path.write_text(path.read_text().replace(BASE.fingerprint, "cd" * 32))
    assert "memctl.toml" in {finding.path for finding in verify(store.path, repair=True).findings}
    with pytest.raises(DamagedStore, match="base"), Store.open(store.path).writer():
        pass


def test_unreadable_head_or_config_refuses_to_open(store: Store) -> None:
    for name in ("HEAD", "memctl.toml"):
        path = store.path / name
        data = path.read_bytes()
        for broken in (None, b"", data[:-3] + b"\xff", data.upper()):
            path.unlink(missing_ok=True)
            if broken is not None:
                path.write_bytes(broken)
            with pytest.raises(DamagedStore, match=name):
                Store.open(store.path)
        path.write_bytes(data)
    assert told(Store.open(store.path))


def test_verify_needs_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound) as caught:
        verify(tmp_path / "nothing")
    assert "memctl init" in caught.value.hint


def test_a_lost_snapshot_is_no_cut(store: Store) -> None:
    lost = store.layout.snapshot(store.snapshot("HEAD~4").id)
    os.unlink(lost)
    assert names(verify(store.path).findings, store, lost)
    with pytest.raises(DamagedStore, match=lost.stem):
        list(store.log())
    with pytest.raises(DamagedStore), store.writer() as writer:
        writer.gc(keep_last=2)
    assert BaseRef(BASE.name, BASE.fingerprint) == store.base


@pytest.mark.parametrize("damage", [lambda data: b"garbage\n" + data, lambda data: data + b"x", lambda data: b""])
@pytest.mark.parametrize("name", ["HEAD", "tags", "shallow", "journal/position"])
def test_repair_rebuilds_the_ways_into_the_history(store: Store, name: str, damage: Callable[[bytes], bytes]) -> None:
    path = store.path / name
    data, records = path.read_bytes(), store.journal.read()
    overwrite(path, damage(data))
    findings = verify(store.path).findings
    assert findings
    assert all(finding.repairable for finding in findings)
    report = verify(store.path, repair=True)
    assert (report.findings, name in report.repaired) == ((), True)
    if name != "tags" or damage(data):  # of an empty file nobody knows the names
        assert path.read_bytes() == data
    assert store.journal.read() == records


def test_repair_leads_past_a_snapshot_that_cannot_be_read(store: Store) -> None:
    history = list(store.log())
    damaged = history[4]
    overwrite(store.layout.snapshot(damaged.id), b"{}")
    findings = verify(store.path).findings
    assert [(finding.path, finding.repairable) for finding in findings] == [(f"snapshots/{damaged.id}.json", True)]
    assert verify(store.path, repair=True).findings == ()
    assert list(store.log()) == [past for past in history if past.id != damaged.id]
    with store.writer() as writer:
        writer.gc()
    report = verify(store.path)
    assert (report.findings, report.notes) == ((), ())
    assert not store.layout.snapshot(damaged.id).exists()


def test_repair_takes_no_snapshot_for_one_that_a_tag_or_head_names(store: Store) -> None:
    for revision in ("HEAD", "v1"):
        path = store.layout.snapshot(store.snapshot(revision).id)
        data = path.read_bytes()
        overwrite(path, b"{}")
        assert names(verify(store.path, repair=True).findings, store, path)
        overwrite(path, data)
    assert verify(store.path).findings == ()


def test_repair_forgets_no_line_of_a_journal_that_is_damaged_itself(store: Store) -> None:
    for path, damaged in ((store.journal.path, b"{}\n"), (store.journal.position_path, b"x")):
        overwrite(path, damaged + path.read_bytes())
    report = verify(store.path, repair=True)
    assert not report.repaired
    assert "journal/position" in {finding.path for finding in report.findings}


def test_an_id_is_found_beside_damaged_tags(store: Store) -> None:
    overwrite(store.path / "tags", b"garbage")
    assert store.snapshot(store.head().id) == store.head()


def test_snapshots_that_are_missing_may_come_again(store: Store, tmp_path: Path) -> None:
    history = list(store.log())
    (tmp_path / "away").mkdir()
    for past in history[1:]:
        store.layout.snapshot(past.id).rename(tmp_path / "away" / past.id)
    assert verify(store.path, repair=True).findings
    for past in history[1:]:
        (tmp_path / "away" / past.id).rename(store.layout.snapshot(past.id))
    assert verify(store.path).findings == ()
    assert list(store.log()) == history


def test_a_snapshot_that_can_be_read_again_comes_back_into_the_history(store: Store) -> None:
    history = list(store.log())
    path = store.layout.snapshot(history[4].id)
    data = path.read_bytes()
    overwrite(path, b"{}")
    verify(store.path, repair=True)
    overwrite(path, data)
    assert verify(store.path, repair=True).repaired == ("shallow",)
    assert list(store.log()) == history


def test_head_is_not_set_back_where_a_newer_snapshot_may_be_the_one(store: Store) -> None:
    manifest, ledger = store.layout.snapshot(store.head().id), (store.path / "ledger.json").read_bytes()
    overwrite(manifest, b"{}")
    (store.path / "HEAD").write_bytes(b"garbage")
    assert "HEAD" in {finding.path for finding in verify(store.path, repair=True).findings}
    assert (store.path / "ledger.json").read_bytes() == ledger


def test_a_tag_that_protects_an_unreadable_snapshot_outlasts_a_repair(store: Store) -> None:
    tagged = store.tags()
    overwrite(store.layout.snapshot(tagged["v1"]), b"{}")
    with (store.path / "tags").open("ab") as tags:
        tags.write(b"x")
    assert verify(store.path, repair=True).findings
    assert store.tags() == tagged


def test_a_repair_touches_nothing_of_a_newer_store(store: Store) -> None:
    config = store.path / "memctl.toml"
    config.write_text(config.read_text().replace("format = 1", "format = 2"))
    for name in ("HEAD", "tags"):
        (store.path / name).write_bytes(b"ref: main")
    with pytest.raises(UnknownFormat):
        verify(store.path, repair=True)
    assert [(store.path / name).read_bytes() for name in ("HEAD", "tags")] == [b"ref: main"] * 2


def test_a_place_in_the_journal_is_not_rebuilt_from_a_torn_line(store: Store) -> None:
    overwrite(store.journal.path, store.journal.path.read_bytes()[:-3])
    store.journal.position_path.unlink()
    assert "journal/position" in {finding.path for finding in verify(store.path, repair=True).findings}
    store.journal.path.unlink()
    assert verify(store.path, repair=True).findings
