"""status, facts, show, log, diff, rollback, tag, gc, verify: over a store whose edits are made up."""

from pathlib import Path

import msgspec
import pytest
from cli_examples import Cli, remember

from memctl.store.layout import Layout
from memctl.store.records import AdapterRef, Ledger
from memctl.store.store import Store
from memctl.wake.live import Memory

PRIYA = ("Priya Okonkwo", "lives in", "Jakarta")
MARCUS = ("Marcus Bell", "plays", "cello")


def test_every_command_without_a_store_says_how_to_make_one(cli: Cli) -> None:
    for command in (
        ["status"],
        ["log"],
        ["facts"],
        ["show"],
        ["diff"],
        ["rollback", "HEAD"],
        ["gc"],
        ["verify"],
    ):
        ran = cli(*command)
        assert ran.code == 10, command
        assert "memctl init" in ran.err
        assert ran.out == ""


def test_status_counts_facts_and_names_the_composition(cli: Cli, store: Store) -> None:
    head = remember(store, PRIYA, MARCUS)
    summary = cli("status", "--json").summary
    assert summary["facts"] == {
        "active": 2, "superseded": 0, "forgotten": 0, "stage0": 2, "stage1": 0, "stage2": 0, "stage3": 0,
    }  # fmt: skip
    assert summary["composition"] == head.composition
    assert summary["snapshot"] == head.id
    assert summary["base"] == {"name": "tiny", "fingerprint": "f" * 64}
    assert "2 active" in cli("status").out


def test_facts_are_listed_as_records_ids_and_a_table(cli: Cli, store: Store) -> None:
    remember(store, PRIYA, MARCUS)
    ran = cli("facts", "--json")
    assert {(f["subject"], f["relation"], f["object"]) for f in ran.of("fact")} == {PRIYA, MARCUS}
    assert ran.summary["facts"] == 2
    assert sorted(cli("facts", "-q").out.split()) == sorted(f["id"] for f in ran.of("fact"))
    assert "Priya Okonkwo  lives in" in cli("facts").out
    assert cli("facts", "--at", "HEAD~1", "--json").of("fact") == []
    assert cli("facts", "--state", "asleep").code == 2


def test_show_gives_a_fact_or_a_snapshot_in_full(cli: Cli, store: Store) -> None:
    head = remember(store, PRIYA)
    fact = cli("facts", "-q").out.strip()
    [shown] = cli("show", fact[:6], "--json").of("fact")
    assert shown["delta"]["subject"] == "Priya Okonkwo"
    [snapshot] = cli("show", "HEAD", "--json").of("snapshot")
    assert (snapshot["id"], snapshot["metrics"]) == (head.id, {"drift": 0.001})
    nothing = cli("show", "nosuch")
    assert nothing.code == 2
    assert "neither a fact nor a snapshot" in nothing.err


def test_show_tells_where_a_fact_is_from_who_is_near_it_and_which_snapshots_hold_it(cli: Cli, store: Store) -> None:
    first, second = remember(store, PRIYA), remember(store, PRIYA, MARCUS)
    ids = {fact["subject"]: fact["id"] for fact in cli("facts", "--json").of("fact")}
    [shown] = cli("show", ids["Priya Okonkwo"], "--json").of("fact")
    assert shown["provenance"] == {"source": "notes.ndjson", "line": 1}
    assert shown["snapshots"] == [second.id, first.id]
    assert (shown["delta"]["layer"], shown["delta"]["units"], shown["delta"]["reference"]) == (1, 1, None)
    assert shown["delta"]["residual_norm"] > 0
    [near] = shown["competing"]
    assert (near["subject"], near["facts"], near["whitened"]) == ("Marcus Bell", [ids["Marcus Bell"]], False)
    assert {"cosine", "here", "there"} < near.keys()
    text = cli("show", ids["Priya Okonkwo"]).out
    assert "competing      subject Marcus Bell" in text
    assert text.count("snapshots  ") == 2


def test_show_finds_a_fact_that_is_no_longer_live_in_the_snapshots_that_hold_it(cli: Cli, store: Store) -> None:
    holding = remember(store, PRIYA)
    [entry] = store.ledger().entries.values()
    with store.writer(command="forget") as writer:
        gone = msgspec.structs.replace(entry, state="forgotten")
        writer.commit(ledger=Ledger({entry.id: gone}), deltas=[], weights={}, metrics={}, message="forget")
    [shown] = cli("show", entry.id, "--json").of("fact")
    assert (shown["state"], shown["delta"], shown["competing"]) == ("forgotten", None, [])
    assert shown["snapshots"] == [holding.id]


def test_log_is_newest_first_and_bounded(cli: Cli, store: Store) -> None:
    first, second = remember(store, PRIYA), remember(store, PRIYA, MARCUS)
    ran = cli("log", "--json")
    assert [record["id"] for record in ran.of("snapshot")][:2] == [second.id, first.id]
    assert ran.summary["snapshots"] == 3
    assert cli("log", "-n", "1", "-q").out == f"{second.id}\n"
    assert cli("log", "-n", "0", "--json").summary["snapshots"] == 0


def test_diff_tells_what_came_and_went(cli: Cli, store: Store) -> None:
    remember(store, PRIYA)
    remember(store, MARCUS)
    ran = cli("diff", "--json")
    assert {(record["change"], record["subject"]) for record in ran.of("fact")} == {
        ("added", "Marcus Bell"),
        ("removed", "Priya Okonkwo"),
    }
    assert ran.code == 0
    assert cli("diff", "--exit-code").code == 5
    assert cli("diff", "HEAD", "HEAD", "--exit-code").code == 0


def test_rollback_is_a_new_snapshot_that_can_be_rolled_back(cli: Cli, store: Store) -> None:
    before, after = remember(store, PRIYA), remember(store, PRIYA, MARCUS)
    assert cli("rollback", "HEAD~1", "--dry-run", "--json").summary["result"] == "dry-run"
    assert store.head().id == after.id
    done = cli("rollback", "HEAD~1", "--json")
    assert done.summary["composition"] == before.composition
    assert store.head().parent == after.id
    assert cli("rollback", "HEAD", "--json").summary["result"] == "noop"
    assert cli("rollback", after.id[:10]).code == 0
    assert store.head().composition == after.composition
    assert cli("rollback", "nowhere").code == 2


def test_tags_are_set_listed_used_and_removed(cli: Cli, store: Store) -> None:
    head = remember(store, PRIYA)
    assert cli("tag", "good").code == 0
    assert cli("tag", "--json").of("tag")[0]["snapshot"] == head.id
    assert cli("log", "--json").of("snapshot")[0]["tags"] == ["good"]
    remember(store, PRIYA, MARCUS)
    assert cli("rollback", "good", "-q").code == 0
    assert cli("tag", "--delete", "good").code == 0
    assert cli("tag", "-q").out == ""
    assert cli("tag", "--delete", "good").code == 2
    assert cli("tag", "--delete").code == 2
    assert cli("tag", "HEAD").code == 2


def test_gc_keeps_what_it_was_told_to_keep(cli: Cli, store: Store) -> None:
    remember(store, PRIYA)
    remember(store, MARCUS)
    assert cli("gc", "--json").summary["snapshots"] == 0
    assert cli("gc", "--keep-last", "1", "--dry-run", "--json").summary["snapshots"] == 2
    assert len(list(store.log())) == 3
    assert cli("gc", "--keep-last", "1", "--json").summary["snapshots"] == 2
    assert cli("log", "--json").summary["snapshots"] == 1
    assert cli("verify").code == 0
    assert cli("gc", "--keep-last", "0").code == 2


def test_verify_names_the_damage_and_the_way_out(cli: Cli, store: Store) -> None:
    good, bad = remember(store, PRIYA), remember(store, MARCUS)
    assert cli("verify", "--json").summary["result"] == "clean"
    path = store.layout.find_object(bad.deltas[0].object)
    path.chmod(0o644)
    path.write_bytes(b"something else")
    ran = cli("verify", "--json")
    assert ran.code == 12
    assert bad.deltas[0].object in ran.of("finding")[0]["path"]
    assert ran.summary["last_good"] == good.id
    assert f"memctl rollback {good.id[:12]}" in cli("verify").out


def test_the_way_back_that_verify_names_leads_back(cli: Cli, store: Store) -> None:
    good = remember(store, PRIYA)
    head = remember(store, PRIYA, MARCUS)
    path = store.layout.snapshot(head.id)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-9])
    ran = cli("verify", "--json")
    assert (ran.code, ran.summary["last_good"], ran.summary["deep"]) == (12, good.id, False)
    assert f"memctl rollback {good.id[:12]}" in cli("verify").out
    back = cli("rollback", good.id[:12], "--json")
    assert (back.code, back.summary["result"], back.summary["from"]) == (0, "done", "")
    assert store.head().composition == good.composition
    assert "rollback" not in cli("verify").out.splitlines()[-1]


def test_verify_repairs_what_follows_from_the_rest(cli: Cli, store: Store) -> None:
    remember(store, PRIYA)
    (store.path / "ledger.json").write_text("{}")
    assert cli("verify").code == 12
    assert cli("verify", "--repair", "--json").of("repaired")
    assert cli("verify").code == 0


def test_a_file_that_can_be_written_to_is_no_damage_and_is_mended(cli: Cli, store: Store) -> None:
    head = remember(store, PRIYA)
    files = [store.layout.snapshot(head.id), store.layout.find_object(head.ledger)]
    for path in files:
        path.chmod(0o644)
    ran = cli("verify", "--json")
    assert (ran.code, ran.summary["result"], ran.of("finding")) == (0, "clean", [])
    assert {note["path"] for note in ran.of("note")} == {str(path.relative_to(store.path)) for path in files}
    assert "--repair" in cli("verify").out
    mended = cli("verify", "--repair", "--json")
    assert {record["path"] for record in mended.of("repaired")} == {note["path"] for note in ran.of("note")}
    assert (mended.code, mended.of("note")) == (0, [])
    assert {path.stat().st_mode & 0o777 for path in files} == {0o444}


@pytest.mark.parametrize("file", ["memctl.toml", "HEAD"])
def test_a_damaged_store_is_named_by_every_command(cli: Cli, store: Store, file: str) -> None:
    remember(store, PRIYA)
    (store.path / file).write_bytes(b"\xff\x00")
    for command in ("status", "log", "facts", "verify"):
        assert cli(command).code == 12, command


@pytest.mark.parametrize("config", ["format = 99\n", 'format = 1\nfeatures = ["sharded"]\n[base]\n'])
def test_a_store_of_a_newer_version_is_refused_and_not_called_damaged(cli: Cli, store: Store, config: str) -> None:
    remember(store, PRIYA)
    (store.path / "memctl.toml").write_text(config)
    for command in (["status"], ["verify"], ["verify", "--repair"], ["rollback", "HEAD~1"]):
        ran = cli(*command, "--json")
        assert (ran.code, ran.of("error")[0]["error"]) == (1, "UnknownFormat"), command
        assert "newer memctl" in ran.err
        assert "rollback" not in ran.err
    assert (store.path / "memctl.toml").read_text() == config


def test_a_read_only_store_is_read_but_not_written(cli: Cli, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from memctl.errors import StoreNotWritable
    from memctl.store import atomic

    def refused(path: Path, data: bytes, mode: int = 0) -> None:
        raise StoreNotWritable(f"cannot write {path}: Read-only file system", "check the owner")

    remember(store, PRIYA)
    monkeypatch.setattr(atomic, "replace", refused)
    assert cli("status").code == 0
    ran = cli("rollback", "HEAD~1", "--json")
    assert ran.code == 1
    assert ran.of("error")[0]["error"] == "StoreNotWritable"
    assert ran.summary["exit_code"] == 1


def test_a_locked_store_names_the_holder(cli: Cli, store: Store) -> None:
    remember(store, PRIYA)
    with store.writer(command="sleep"):
        ran = cli("rollback", "HEAD~1")
        assert ran.code == 11
        assert "(sleep)" in ran.err
        assert "--lock-wait" in ran.err
        assert cli("status").code == 0


def test_an_adapter_shows_in_snapshots_facts_and_differences(cli: Cli, store: Store) -> None:
    remember(store, PRIYA)
    head, ledger = store.head(), store.ledger()
    carried = tuple(sorted(ledger.entries))
    with store.writer(command="sleep") as writer:
        ref = AdapterRef(carried, writer.put(b"an adapter", ".safetensors"), "s")
        writer.commit(ledger=ledger, deltas=head.deltas, adapter=ref, weights={}, metrics={}, message="sleep")
    [shown] = cli("--json", "show").of("snapshot")
    assert shown["adapter"]["object"] == ref.object
    [fact] = cli("--json", "show", carried[0]).of("fact")
    assert fact["adapter"] is True
    [moved] = cli("--json", "diff").of("adapter")
    assert (moved["change"], moved["object"], moved["facts"]) == ("added", ref.object, list(carried))
    [back] = cli("--json", "diff", "HEAD", "HEAD~1").of("adapter")
    assert back["change"] == "removed"
    assert "adapter added" in cli("diff").out


def test_verify_names_a_repair_that_does_it(cli: Cli, store: Store) -> None:
    remember(store, PRIYA)
    head = store.head()
    (store.path / "HEAD").write_text("garbage")
    assert "memctl verify --repair" in cli("verify").out
    assert cli("verify", "--repair").code == 0
    assert store.head() == head
    (store.path / "memctl.toml").write_text("garbage")
    assert "restore memctl.toml" in cli("verify").out


def test_a_reader_begins_again_where_gc_has_swept(cli: Cli, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(store, PRIYA)
    read, swept = Layout.read_object, []

    def disturbed(layout: Layout, sha: str) -> bytes:
        if not swept:
            swept.append(sha)
            remember(store, MARCUS)
            with store.writer() as writer:
                writer.gc(keep_last=1)
        return read(layout, sha)

    monkeypatch.setattr(Layout, "read_object", disturbed)
    memory = Memory.current(store)
    assert memory.head == store.head()
    assert [ref.subject for ref, _ in memory.memories] == [MARCUS[0]]
