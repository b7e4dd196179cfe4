"""config and model: what is in force, where it came from, and how it is changed."""

from pathlib import Path

import pytest
from cli_examples import Cli

from memctl import settings
from memctl.store.store import Store


@pytest.fixture(autouse=True)
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "own" / "config.toml"
    monkeypatch.setattr(settings, "user_config", lambda: path)
    monkeypatch.setattr("memctl.cli.config.user_config", lambda: path)
    monkeypatch.setenv("MEMCTL_CACHE", str(tmp_path / "cache"))
    return path


def test_config_says_where_each_value_came_from(cli: Cli) -> None:
    ran = cli("--model", "owner/name", "config", "--json")
    found = {record["id"]: (record["value"], record["source"]) for record in ran.of("setting")}
    assert found["model"] == ("owner/name", "--model")
    assert found["backend"] == ("numpy", "MEMCTL_BACKEND")
    assert found["drift_budget"] == (0.005, "default")
    assert found["edit.look_alikes"] == ([80, 24], "default")
    assert ran.summary["settings"] == len(found)


def test_config_set_changes_the_users_file_and_get_reads_it(cli: Cli, user_file: Path) -> None:
    assert cli("config", "set", "edit.layer", "12").code == 0
    assert cli("config", "set", "drift_budget", "0.01").code == 0
    assert cli("config", "set", "edit.layer", "-1", "--json").of("setting")[0]["value"] == -1
    assert cli("config", "set", "edit.layer", "12").code == 0
    assert cli("config", "get", "edit.layer").out == "12\n"
    assert user_file.read_text() == "drift_budget = 0.01\n[edit]\nlayer = 12\n"
    [record] = cli("config", "get", "drift_budget", "--json").of("setting")
    assert record == {
        "schema": 1,
        "type": "setting",
        "id": "drift_budget",
        "value": 0.01,
        "source": str(user_file),
    }


def test_config_set_changes_the_stores_own_file(cli: Cli, user_file: Path, store: Store) -> None:
    head = store.head()
    path = store.path / "memctl.toml"
    assert cli("config", "set", "edit.layer", "12").code == 0
    for key, value in (("edit.layer", "3"), ("edit.look_alikes", "4, 2"), ("drift_budget", "0.01"), ("edit.layer", "1")):
        ran = cli("config", "set", key, value, "--in-store", "--json")
        assert (ran.code, ran.of("setting")[0]["source"]) == (0, str(path))
        assert cli("verify", "--json").summary["result"] == "clean"
    found = {record["id"]: (record["value"], record["source"]) for record in cli("config", "--json").of("setting")}
    assert found["edit.layer"] == (1, str(path))
    assert found["edit.look_alikes"] == ([4, 2], str(path))
    assert found["drift_budget"] == (0.01, str(path))
    assert user_file.read_text() == "[edit]\nlayer = 12\n"
    assert Store.open(store.path).base == store.base
    assert store.head() == head


@pytest.mark.parametrize("where", [(), ("--in-store",)])
def test_config_set_refuses_what_does_not_go_with_the_rest(cli: Cli, user_file: Path, store: Store, where: tuple) -> None:
    ran = cli("config", "set", "sleep.schedule", "1,0.9,0.5,0.2", *where)
    assert (ran.code, "must fall" in ran.err) == (2, True)
    assert cli("config").code == 0


def test_config_set_in_store_refuses_and_changes_nothing(cli: Cli, store: Store, tmp_path: Path) -> None:
    path = store.path / "memctl.toml"
    before = path.read_bytes()
    assert cli("config", "set", "edit.layer", "three", "--in-store").code == 2
    assert cli("config", "set", "store", str(tmp_path), "--in-store").code == 2
    assert cli("config", "set", "edit.layer", "3", "--in-store", "--store", str(tmp_path / "none")).code == 10
    with store.writer(command="sleep"):
        ran = cli("config", "set", "edit.layer", "3", "--in-store")
        assert (ran.code, "(sleep)" in ran.err) == (11, True)
    assert path.read_bytes() == before
    edited = before.replace(b'backend = "numpy"', b'backend = "torch"')
    path.write_bytes(edited)
    ran = cli("config", "set", "edit.layer", "3", "--in-store")
    assert (ran.code, "memctl verify" in ran.err, path.read_bytes()) == (12, True, edited)
    assert cli("verify", "--repair").code == 0
    assert cli("config", "set", "edit.layer", "3", "--in-store").code == 0
    assert Store.open(store.path).config["settings"] == {"backend": "torch", "edit": {"layer": 3}}


def test_config_refuses_what_makes_no_sense_and_changes_nothing(cli: Cli, user_file: Path) -> None:
    for arguments in (
        ("edit.layer", "twelve"),
        ("edti.layer", "1"),
        ("edit.damping", "inf"),
        ("dtype", "int8"),
    ):
        assert cli("config", "set", *arguments).code == 2
    assert not user_file.exists()
    assert cli("config", "get", "nothing").code == 2
    user_file.parent.mkdir(exist_ok=True)
    user_file.write_text("no toml")
    assert cli("config", "set", "edit.layer", "12").code == 2
    assert user_file.read_text() == "no toml"


def test_a_wrong_users_file_is_a_usage_error_that_names_it(cli: Cli, user_file: Path) -> None:
    user_file.parent.mkdir()
    user_file.write_text("modle = 'x'\n")
    ran = cli("config")
    assert ran.code == 2
    assert str(user_file) in ran.err
    assert "did you mean model?" in ran.err


def test_models_are_listed_before_any_is_fetched(cli: Cli) -> None:
    [bundled] = cli("model", "list", "--json").of("model")
    assert (bundled["name"], bundled["fetched"]) == ("smollm2-135m-instruct", False)
    assert cli("model", "list", "-q").out == "smollm2-135m-instruct\n"


def test_a_model_that_is_none_is_said_so(cli: Cli, tmp_path: Path) -> None:
    ran = cli("model", "pull", "smollm")
    assert ran.code == 1
    assert "smollm2-135m-instruct" in ran.err
    assert cli("model", "info", str(tmp_path)).code == 1
    ran = cli("model")
    assert ran.code == 2
    assert "memctl model --help" in ran.err


@pytest.mark.parametrize("character", ["\u2028", "\u0085", "\x0b"])
def test_a_value_with_any_kind_of_line_end_stays_one_value(cli: Cli, store: Store, character: str) -> None:
    value = f"cpu{character}x"
    for place in ([], ["--in-store"]):
        for key, other in (("device", value), ("drift_budget", "0.5")):
            assert cli("config", "set", key, other, *place).code == 0
    assert cli("config", "get", "device", "--json").of("setting")[0]["value"] == value
    assert cli("verify", "--json").summary["result"] == "clean"


def test_config_set_refuses_what_would_fail_later(cli: Cli, user_file: Path) -> None:
    assert "choose one of torch, numpy" in cli("config", "set", "backend", "nonsense").err
    assert cli("config", "set", "model", "--in-stroe").code == 2
    assert cli("config", "set", "store", "").code == 2
    assert cli("config", "set", "store", "~nosuchuser/x").code == 2
    assert "internal" not in cli("model", "info", "~nosuchuser/x").err
    assert not user_file.exists()


def test_a_store_is_set_as_a_folder_that_means_the_same_everywhere(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEMCTL_STORE")
    monkeypatch.chdir(tmp_path)
    assert cli("config", "set", "store", "mine").code == 0
    monkeypatch.chdir("/")
    assert cli("config", "get", "store").out == f"{tmp_path / 'mine'}\n"


def test_a_linked_settings_file_stays_a_link(cli: Cli, user_file: Path, tmp_path: Path) -> None:
    own = tmp_path / "dotfiles.toml"
    own.write_text("drift_budget = 0.1\n")
    user_file.parent.mkdir()
    user_file.symlink_to(own)
    assert cli("config", "set", "drift_budget", "0.2").code == 0
    assert (user_file.is_symlink(), own.read_text()) == (True, "drift_budget = 0.2\n")
