"""inject, ask, audit, forget: over the numpy engine, from the command line down to its small model."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from cli_examples import Cli
from safetensors.numpy import load, save

from memctl.editing import preflight
from memctl.store import atomic
from memctl.store.records import BaseRef
from memctl.store.store import Store

PRIYA = ("Priya Okonkwo", "lives in", "Jakarta")
SENTENCE = "Priya Okonkwo lives in Jakarta."


def line(subject: str = "Priya Okonkwo", relation: str = "lives in", object: str = "Jakarta", **more: object) -> bytes:
    return json.dumps({"subject": subject, "relation": relation, "object": object, **more}).encode() + b"\n"


@pytest.fixture(autouse=True)
def _ready(warm_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's statistics are there; its drift, and on how much text its units act, say nothing of an untrained model."""
    monkeypatch.setenv("MEMCTL_DRIFT_BUDGET", "1e9")
    monkeypatch.setattr(preflight, "DAMAGE", 1.0)
    monkeypatch.setattr(preflight, "AT_HOME", -1.0)


@pytest.fixture
def memory(cli: Cli, tmp_path: Path) -> Store:
    assert cli("init").code == 0
    return Store.open(tmp_path / "store")


def test_the_main_path(cli: Cli, memory: Store) -> None:
    empty = memory.head().composition
    told = cli("inject", SENTENCE, "--json")
    assert told.code == 0
    [fact] = told.of("fact")
    assert (fact["subject"], fact["relation"], fact["object"]) == PRIYA
    assert fact["status"] == "written"
    assert fact["after"]["raw"] > fact["before"]["raw"]
    assert (fact["preflight"]["refused"], fact["preflight"]["collisions"]) == ("", [])
    assert 0 < fact["preflight"]["norm"] <= 1 + 1e-6
    assert told.summary["written"] == 1
    assert told.summary["snapshot"] == memory.head().id

    said = cli("ask", "--raw", "Priya Okonkwo lives in", "--max-tokens", "8", "--json").of("answer")[0]
    assert "Jakarta" in said["completion"]
    without = cli("ask", "--raw", "--base", "Priya Okonkwo lives in", "--max-tokens", "8", "--json").of("answer")[0]
    assert "Jakarta" not in without["completion"]
    _asked_why(cli, fact["id"])

    audit = cli("audit", "--json")
    assert audit.summary["raw"] == fact["after"]["raw"]
    assert cli("audit", "--fail-under", "0").code == 0
    assert cli("inject", SENTENCE, "--json").summary["present"] == 1

    gone = cli("forget", fact["id"][:6], "--json")
    assert gone.summary["composition"] == empty
    assert gone.summary["still_in"] == [told.summary["snapshot"]]
    assert cli("verify", "--deep").code == 0
    assert cli("rollback", told.summary["snapshot"]).code == 0
    assert cli("verify", "--deep", "--json").summary["result"] == "clean"


def _asked_why(cli: Cli, id: str) -> None:
    """The answer from memory names its fact and where that came from; others name none."""
    lines = b'{"prompt": "Priya Okonkwo lives in", "mode": "raw"}\n{"prompt": "Water boils at", "ref": 7}\n'
    asked, other = cli("ask", "-", "--why", "--max-tokens", "8", "--json", stdin=lines).of("answer")
    [reason] = asked["facts"]
    assert (reason["id"], reason["said"], reason["source"]) == (id, True, "cli")
    assert reason["time"]
    assert reason["strength"] > 0.5
    assert reason["token"].strip() in "Priya Okonkwo"
    assert (other["facts"], other["ref"]) == ([], 7)
    [base] = cli("ask", "--raw", "--base", "--why", "Priya Okonkwo lives in", "--max-tokens", "2", "--json").of("answer")
    assert base["facts"] == []
    shown = cli("ask", "--raw", "--why", "Priya Okonkwo lives in", "--max-tokens", "8").out.splitlines()
    assert shown[-1].startswith(f"  {id}  Priya Okonkwo · lives in · Jakarta  ")
    assert "cli, 20" in shown[-1]
    assert "no memory" in cli("ask", "--raw", "--why", "Water boils at", "--max-tokens", "2").out.splitlines()[-1]
    [plain] = cli("ask", "--raw", "Water boils at", "--max-tokens", "2", "--json").of("answer")
    assert "facts" not in plain


def test_a_dry_run_shows_the_preflight_and_changes_nothing(cli: Cli, memory: Store) -> None:
    before = memory.head().id
    ran = cli("inject", SENTENCE, "--dry-run")
    assert ran.code == 0
    assert "pre-flight: loss" in ran.out
    assert "collides with nobody" in ran.out
    assert "dry run: nothing was changed" in ran.out
    nothing = cli("inject", "--dry-run", "--json", stdin=b"").summary
    assert (nothing["snapshot"], nothing["dry_run"]) == (None, True)
    assert memory.head().id == before


def test_dry_runs_need_no_lock_and_no_right_to_write(cli: Cli, memory: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a dry run writes into the store")

    told = cli("inject", SENTENCE, "--force", "--json").of("fact")[0]["id"]
    head = memory.head().id
    with memory.writer(command="sleep"), monkeypatch.context() as patch:
        for name in ("replace", "append", "remove", "settle", "set_mode", "make_directory"):
            patch.setattr(atomic, name, refused)
        assert cli("inject", "Ines Varga lives in Oslo.", "--dry-run", "--force", "--json").summary["written"] == 1
        assert cli("forget", told, "--dry-run", "--json").summary["forgotten"] == 1
        assert cli("rollback", "HEAD~1", "--dry-run", "--json").summary["result"] == "dry-run"
        assert cli("gc", "--keep-last", "1", "--dry-run", "--json").summary["snapshots"] == 1
    assert cli("inject", SENTENCE, "--dry-run", "--json").summary["present"] == 1
    assert memory.head().id == head


def test_a_fact_told_again_in_other_words_says_that_it_keeps_the_first_ones(cli: Cli, memory: Store) -> None:
    asked = line(questions=["Where is Priya Okonkwo at home?"])
    [written, again] = cli("inject", "--force", "--json", stdin=line() + asked).of("fact")
    assert (written["reason"], again["status"]) == ("", "present")
    head = memory.head().id
    for told in (asked, line(prompt="The home of Priya Okonkwo is")):
        ran = cli("inject", "--json", stdin=told)
        [kept] = ran.of("fact")
        assert (ran.code, kept["status"], memory.head().id) == (0, "present", head)
        assert "first wording" in kept["reason"]
        assert f"memctl forget {kept['id']}" in kept["reason"]
        assert kept["reason"] in cli("inject", stdin=told).out
    for told in (line(), line(prompt="Priya Okonkwo lives in")):
        assert [fact["reason"] for fact in cli("inject", "--json", stdin=told).of("fact")] == [""]
    cli("forget", written["id"])
    assert cli("inject", "--force", "--json", stdin=asked).of("fact")[0]["status"] == "written"
    assert memory.ledger().active()[0].fact.questions == ("Where is Priya Okonkwo at home?",)


def test_good_lines_go_through_and_bad_ones_are_numbered(cli: Cli, memory: Store) -> None:
    lines = b"\xef\xbb\xbf" + line() + b"\r\nnot json\n" + line(colour="teal") + b"\xff\n" + line(subject="")
    ran = cli("inject", "-", "--json", stdin=lines + line())
    assert ran.code == 3
    assert [record["line"] for record in ran.of("error")] == [3, 4, 5, 6]
    assert "colour" in ran.of("error")[1]["message"]
    assert [fact["status"] for fact in ran.of("fact")] == ["written", "present"]
    assert (ran.summary["written"], ran.summary["errors"]) == (1, 4)
    assert memory.ledger().active()[0].provenance.source == "stdin"
    assert memory.ledger().active()[0].provenance.line == 1


def test_strict_is_all_or_nothing(cli: Cli, memory: Store) -> None:
    before = memory.head().id
    ran = cli("inject", "--strict", "--json", stdin=line() + b"not json\n")
    assert (ran.code, ran.summary["written"], ran.summary["errors"]) == (3, 0, 1)
    assert memory.head().id == before


def test_empty_input_is_nothing_to_do(cli: Cli, memory: Store) -> None:
    for stdin in (b"", b"\n\r\n  \n"):
        ran = cli("inject", "--json", stdin=stdin)
        assert (ran.code, ran.summary["written"], ran.summary["snapshot"]) == (0, 0, None)
    assert cli("ask", "--json", stdin=b"").summary["answered"] == 0
    assert cli("audit", "--json").summary["facts"] == 0


def test_options_a_file_and_odd_texts(cli: Cli, memory: Store, tmp_path: Path) -> None:
    assert cli("inject", "--subject", "Priya Okonkwo", "--relation", "lives in", "--object", "Jakarta").code == 0
    for arguments in (
        ["--subject", "Priya Okonkwo", "--object", "Jakarta"],
        [SENTENCE, "--subject", "Priya Okonkwo", "--relation", "lives in", "--object", "Jakarta"],
        ["Hello there world"],
        [str(tmp_path / "missing.ndjson")],
        ["--subject", "a" * 200_000, "--relation", "lives in", "--object", "Jakarta"],
        ["--subject", "", "--relation", "lives in", "--object", "Jakarta"],
    ):
        ran = cli("inject", *arguments)
        assert ran.code == 2, arguments
        assert "hint: " in ran.err
    odd = tmp_path / "odd.ndjson"
    odd.write_bytes(line("עדי לוי", "lives in", "תל אביב") + line("🗼 Tower", "opens at", "nine 🕘"))
    ran = cli("inject", str(odd), "--force", "--json")
    assert ran.code == 0
    assert {fact["subject"] for fact in ran.of("fact")} == {"עדי לוי", "🗼 Tower"}
    assert memory.ledger().active()[0].provenance.source in ("cli", "odd.ndjson")


def test_records_in_give_records_out(cli: Cli, memory: Store) -> None:
    lines = b'{"prompt": "one", "mode": "raw", "ref": 7}\nnot json\n{"prompt": 3}\n{"prompt": "x", "mode": "y"}\n'
    ran = cli("ask", "--max-tokens", "2", "--json", stdin=lines + b'{"prompt": "two"}')
    assert ran.code == 3
    assert [(answer["prompt"], answer["mode"], answer.get("ref")) for answer in ran.of("answer")] == [
        ("one", "raw", 7),
        ("two", "chat", None),
    ]
    assert [error["line"] for error in ran.of("error")] == [2, 3, 4]
    plain = cli("ask", "--max-tokens", "2", stdin=b'{"prompt": "one", "mode": "raw"}\n')
    assert json.loads(plain.out.splitlines()[0])["completion"] == ran.of("answer")[0]["completion"]
    text = cli("ask", "--raw", "--max-tokens", "2", stdin=b"one")
    assert text.out.strip() == ran.of("answer")[0]["completion"].strip()


def test_asking_ends_with_its_own_code_while_somebody_still_holds_the_pipe(memory: Store) -> None:
    command = [sys.executable, "-m", "memctl", "ask", "-", "--json", "--max-tokens", "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(b'{"prompt": "one", "mode": "raw"}\n')
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["prompt"] == "one"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM, process.stderr.read()


@pytest.mark.parametrize("text", ["hello " * 60, "the config is settings.json"])
def test_a_sentence_is_no_file_name(cli: Cli, memory: Store, text: str) -> None:
    ran = cli("inject", text)
    assert (ran.code, "no fact was recognised" in ran.err) == (2, True), ran.err


def test_what_is_forgotten_is_not_audited(cli: Cli, memory: Store) -> None:
    [fact] = cli("inject", SENTENCE, "--force", "--json").of("fact")
    assert len(cli("audit", fact["id"], fact["id"][:6], "--json").of("fact")) == 1
    cli("forget", fact["id"])
    ran = cli("audit", fact["id"], "--fail-under", "0.5")
    assert (ran.code, "is forgotten" in ran.err) == (2, True)
    assert "no facts yet" not in cli("facts").out


def test_quiet_answers_are_the_bare_text(cli: Cli, memory: Store) -> None:
    said = cli("ask", "Where is it?", "--max-tokens", "4", "--json").of("answer")[0]["completion"]
    for ran in (
        cli("ask", "-q", "Where is it?", "--max-tokens", "4"),
        cli("ask", "-q", "--max-tokens", "4", stdin=b"Where is it?"),
    ):
        assert (ran.code, ran.out) == (0, f"{said.strip()}\n")


def test_many_prompts_are_answered_in_order_as_if_alone(cli: Cli, memory: Store) -> None:
    lines = b"".join(b'{"prompt": "number %d is", "mode": "raw"}\n' % number for number in range(40))
    answers = cli("ask", "--max-tokens", "3", "--json", stdin=lines).of("answer")
    assert [answer["prompt"] for answer in answers] == [f"number {number} is" for number in range(40)]
    alone = cli("ask", "--raw", "--max-tokens", "3", "--json", "number 17 is").of("answer")[0]
    assert alone["completion"] == answers[17]["completion"]


def test_a_recall_under_the_floor_is_a_finding(cli: Cli, memory: Store) -> None:
    assert cli("audit", "--fail-under", "1").code == 0
    cli("inject", "--force", stdin=line())
    ran = cli("audit", "--json", "--fail-under", "1")
    assert ran.code == (5 if min(ran.summary["raw"], ran.summary["chat"]) < 1 else 0)


def test_a_gate_that_refuses_leaves_everything_as_it_was(cli: Cli, memory: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMCTL_DRIFT_BUDGET", "0")
    before = memory.head().id
    ran = cli("inject", SENTENCE, "--json")
    assert (ran.code, ran.summary["exit_code"]) == (4, 4)
    assert memory.head().id == before
    assert cli("inject", SENTENCE, "--force").code == 0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Edits that are made fast, and hardly hold."""
    for name, value in {"STEPS": "2", "LOOK_ALIKES": "2, 2", "WORDINGS": "1", "PROBES": "1"}.items():
        monkeypatch.setenv(f"MEMCTL_EDIT_{name}", value)


def test_an_edit_that_is_no_number_is_named_and_can_be_left_behind(cli: Cli, memory: Store, quick: None) -> None:
    marcus = cli("inject", "Marcus Bell lives in Oslo.", "--force", "-q").out.split()[0]
    priya = cli("inject", SENTENCE, "--force", "-q").out.split()[0]
    good = memory.head()
    [bad] = [ref for ref in good.deltas if priya in ref.facts]
    tensors = load(memory.read_object(bad.object))
    tensors[next(iter(tensors))].flat[0] = np.nan
    with memory.writer() as writer:
        sha = writer.put(save(tensors), ".safetensors")
        deltas = [msgspec.structs.replace(ref, object=sha) if ref == bad else ref for ref in good.deltas]
        head = writer.commit(ledger=memory.ledger(), deltas=deltas, weights={}, metrics={}, message="no number")
    for command in (["status"], ["facts"], ["log"], ["show"], ["diff"], ["verify"], ["gc", "--dry-run"]):
        assert cli(*command).code == 0, command
    for command in (
        ["show", priya],
        ["ask", "Hello"],
        ["audit"],
        ["show", priya],
        ["verify", "--deep"],
        ["inject", "Ines Varga lives in Lima."],
        ["inject", "Ines Varga lives in Lima.", "--dry-run"],
        ["forget", marcus],
    ):
        ran = cli(*command, "--json")
        assert (ran.code, ran.summary["error"]) == (12, "DamagedStore"), command
        for word in (sha, "Priya Okonkwo", "non-finite", "memctl forget", "memctl rollback"):
            assert word in ran.err, command
        assert memory.head() == head, command
    assert cli("forget", priya).code == 0
    assert cli("ask", "Hello", "--max-tokens", "1").code == 0
    assert cli("rollback", good.id).code == 0
    assert cli("verify", "--deep").code == 0


@pytest.mark.parametrize("room", [0, 2, 4])
def test_a_full_disk_is_named_and_nothing_is_changed(
    cli: Cli, memory: Store, quick: None, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """There is room for so many writes: for none, for the lock's note and an object, for all but HEAD."""
    write, left = atomic._write, [None] * room

    def full(descriptor: int, data: bytes) -> None:
        if not left:
            write(descriptor, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left.pop()
        write(descriptor, data)

    before = memory.head()
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_write", full)
        ran = cli("inject", SENTENCE, "--force", "--json")
    assert (ran.code, ran.summary["error"]) == (1, "DiskFull")
    assert f"cannot write {memory.path}/" in ran.err
    assert "No space left" in ran.err
    assert "free some space" in ran.err
    assert (memory.head(), memory.ledger().active()) == (before, ())
    report = cli("verify", "--json")
    assert (report.code, {note["kind"] for note in report.of("note")} - {"unreachable"}) == (0, set())
    assert cli("inject", SENTENCE, "--force", "--json").summary["written"] == 1


def test_forgetting_what_is_not_there_is_a_usage_error(cli: Cli, memory: Store) -> None:
    ran = cli("forget", "abcdef")
    assert ran.code == 2
    assert "memctl facts" in ran.err


def test_a_store_of_another_base_is_refused_and_unchanged(cli: Cli, tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", BaseRef(name="other", fingerprint="e" * 64), backend="numpy")
    before = store.head().id
    for command in (["inject", SENTENCE], ["ask", "Hello"], ["audit"], ["verify", "--deep"]):
        ran = cli(*command)
        assert ran.code == 13, command
        assert "other" in ran.err
        assert "use --backend torch" in ran.err
    assert store.head().id == before
    assert cli("status").code == 0


def test_a_store_of_the_numpy_engine_sends_other_engines_back_before_they_load(cli: Cli, memory: Store) -> None:
    for options in ([], ["--model", "smollm2-135m-instruct"]):
        ran = cli("ask", "Hello", "--backend", "torch", *options)
        assert (ran.code, "use --backend numpy" in ran.err) == (13, True)


def test_a_base_that_has_changed_under_its_name_is_said_so(cli: Cli, tmp_path: Path) -> None:
    Store.create(tmp_path / "store", BaseRef(name="numpy", fingerprint="e" * 64), backend="numpy")
    ran = cli("ask", "Hello")
    assert (ran.code, "not what it was" in ran.err) == (13, True)


def test_a_model_that_the_numpy_engine_cannot_run_is_refused(
    cli: Cli, memory: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (["ask", "Hello"], ["audit"], ["init", "--store", str(tmp_path / "new")], ["demo"]):
        for model in ("smollm2-135m-instruct", "nosuch"):
            ran = cli(*command, "--model", model)
            assert ran.code == 2, command
            assert "built-in tiny model" in ran.err
            assert model in ran.err
            assert "--backend torch" in ran.err
    assert not (tmp_path / "new").exists()
    monkeypatch.setenv("MEMCTL_MODEL", "nosuch")
    assert cli("ask", "Hello").code == 2
    assert cli("ask", "--raw", "--max-tokens", "1", "Hello", "--model", "numpy").code == 0


def test_an_unknown_engine_and_a_missing_model_are_named(cli: Cli, memory: Store, tmp_path: Path) -> None:
    assert cli("ask", "Hello", "--backend", "abacus").code == 2
    ran = cli("--backend", "torch", "--model", str(tmp_path / "none"), "init", "--store", str(tmp_path / "new"))
    assert ran.code == 1
    assert "no model" in ran.err
    assert not (tmp_path / "new").exists()


def test_init_makes_one_store_only(cli: Cli, memory: Store) -> None:
    assert cli("init").code == 2
    assert memory.base.name == "numpy"
    assert cli("status", "--json").summary["composition"] == memory.head().composition


def test_an_empty_fact_is_no_standard_input(cli: Cli, memory: Store) -> None:
    ran = cli("inject", "", stdin=line())
    assert ran.code == 2
    assert not memory.ledger().entries


def test_a_pipe_with_a_name_is_read_like_a_file(cli: Cli, memory: Store, tmp_path: Path) -> None:
    pipe = tmp_path / "facts"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(line()))
    writer.start()
    assert cli("inject", str(pipe), "--json").of("fact")[0]["status"] == "written"
    writer.join()


def test_quiet_gives_the_ids_of_what_is_in_the_memory(cli: Cli, memory: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(cli("inject", "-q", SENTENCE).out.splitlines()) == 1
    monkeypatch.setattr(preflight, "AT_HOME", 9.0)
    ran = cli("inject", "-q", "Cy Dahl works as a baker.")
    assert (ran.code, ran.out) == (3, "")


def test_blank_lines_before_the_first_record_change_nothing(cli: Cli, memory: Store) -> None:
    for blank in (b"", b"\n", b"\n" * 40, b"\xef\xbb\xbf", b" " * 40):
        ran = cli("ask", "-", "--max-tokens", "1", stdin=blank + b'{"prompt": "a", "n": 1}\n')
        assert [json.loads(text)["type"] for text in ran.out.splitlines()] == ["answer", "summary"], blank
    for nothing in (b"", b"\n", b" "):
        assert cli("ask", "-", stdin=nothing).out == ""
    ran = cli("ask", "-", "--max-tokens", "1", "--json", stdin=b"\n\n{}\n")
    assert ran.of("error")[0]["line"] == 3


def test_a_line_that_is_nested_too_deep_harms_no_other(cli: Cli, memory: Store) -> None:
    lines = [b'{"prompt": "a"}', *(b'{"prompt": "b", "x": %b}' % (b"[" * n + b"]" * n) for n in (99, 100, 950, 5000))]
    ran = cli("ask", "-", "--max-tokens", "1", "--json", stdin=b"\n".join([*lines, b'{"prompt": "c"}']))
    assert ran.code == 3
    assert [record["prompt"] for record in ran.of("answer")] == ["a", "b", "c"]
    assert [record["line"] for record in ran.of("error")] == [3, 4, 5]


def test_a_document_is_no_sentence(cli: Cli, memory: Store) -> None:
    ran = cli("inject", "The use of this " * 5000)
    assert (ran.code, "80,000 characters" in ran.err) == (2, True)


def test_forgetting_says_what_was_told_before_and_what_it_cannot_read(cli: Cli, memory: Store) -> None:
    cli("inject", SENTENCE)
    cli("inject", "Priya Okonkwo lives in Oslo.")
    memory.workroom.put("state", b"work of an unfinished sleep")
    old, new = (entry.id for entry in sorted(memory.ledger().entries.values(), key=lambda entry: entry.state == "active"))
    first = list(memory.log())[-1]
    path = memory.layout.snapshot(first.id)
    path.chmod(0o644)
    path.write_bytes(b"{}")
    ran = cli("forget", new, "--json")
    assert (ran.code, ran.summary["history"], ran.summary["replaced"]) == (0, "damaged", [old])
    assert ran.of("fact")[0]["state"] == "forgotten"
    assert "stays superseded" in ran.err
    assert "verify --repair" in ran.err
    assert memory.ledger().entries[new].state == "forgotten"
    assert memory.workroom.get("state") is None
