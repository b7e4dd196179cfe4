"""Where a setting comes from, which place wins, and what a wrong value says."""

from pathlib import Path

import pytest

from memctl import settings
from memctl.errors import DamagedStore, UsageError
from memctl.settings import EditSettings, checked, keys, load_settings, settings_hash, store_path
from memctl.store.records import BaseRef
from memctl.store.store import Store
from memctl.toml_files import with_value


@pytest.fixture(autouse=True)
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for key in keys():
        monkeypatch.delenv(f"MEMCTL_{key.replace('.', '_').upper()}", raising=False)
    path = tmp_path / "config.toml"
    monkeypatch.setattr(settings, "user_config", lambda: path)
    monkeypatch.setenv("MEMCTL_STORE", str(tmp_path / "store"))
    return path


def test_each_place_overrides_the_ones_below(user_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def layer() -> tuple[int, str]:
        found = load_settings({"store": str(tmp_path / "store"), **flags})
        return found.settings.edit.layer, found.sources["edit.layer"]

    flags: dict[str, str] = {}
    shipped = tmp_path / "checkout" / "configs" / "owner--name.toml"
    shipped.parent.mkdir(parents=True)
    monkeypatch.setattr(settings, "__file__", str(tmp_path / "checkout" / "memctl" / "settings.py"))
    monkeypatch.setenv("MEMCTL_MODEL", "owner/name")
    assert layer() == (-1, "default")
    shipped.write_text("[edit]\nlayer = 1\n")
    assert layer() == (1, str(shipped))
    user_file.write_text("edit.layer = 2\n")
    assert layer() == (2, str(user_file))
    store = Store.create(tmp_path / "store", BaseRef(name="owner/name", fingerprint="f" * 64))
    config = store.path / "memctl.toml"
    config.write_text(config.read_text().replace("[settings]\n", "[settings]\nedit.layer = 3\n"))
    assert layer() == (3, str(config))
    monkeypatch.setenv("MEMCTL_EDIT_LAYER", "4")
    assert layer() == (4, "MEMCTL_EDIT_LAYER")
    flags["edit.layer"] = "5"
    assert layer() == (5, "--edit-layer")


def test_a_store_brings_its_model_and_backend(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", BaseRef(name="owner/name", fingerprint="f" * 64), backend="mlx")
    found = load_settings({"store": str(store.path)})
    assert (found.settings.model, found.settings.backend) == ("owner/name", "mlx")
    assert found.sources["model"] == str(store.path / "memctl.toml")


def test_the_numpy_engine_brings_its_model_unless_another_is_asked_for(
    user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text('model = "owner/name"\n')
    found = load_settings({"backend": "numpy"})
    assert (found.settings.model, found.sources["model"]) == ("numpy", "the numpy engine")
    assert load_settings({"backend": "numpy", "model": "mine"}).settings.model == "mine"
    monkeypatch.setenv("MEMCTL_MODEL", "yours")
    assert load_settings({"backend": "numpy"}).settings.model == "yours"
    assert load_settings({}).settings.model == "yours"


def test_the_store_is_found_without_reading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMCTL_STORE", str(tmp_path / "damaged"))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "memctl.toml").write_bytes(b"\xff")
    assert store_path({}) == tmp_path / "damaged"
    with pytest.raises(DamagedStore, match=r"memctl\.toml"):
        load_settings({})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("edti.layer = 3", ["edti.layer", "edit.layer"]),
        ("edit.layer = 'three'", ["edit.layer", "whole number", "'three'"]),
        ("edit.layer = 3.5", ["edit.layer", "whole number"]),
        ("drift_budget = nan", ["drift_budget"]),
        ("drift_budget = -1.0", ["drift_budget", "at least 0"]),
        ("edit.damping = inf", ["edit.damping", "finite"]),
        ("edit.look_alikes = [1]", ["edit.look_alikes", "2 whole numbers"]),
        ("edit.look_alikes = [80, 0]", ["edit.look_alikes", "2 whole numbers of at least 1"]),
        ("dtype = 'int3'", ["dtype", "bfloat16"]),
        ("model = 3", ["model", "a text"]),
        ("layer", ["no TOML"]),
    ],
)
def test_a_wrong_file_is_named_with_key_and_type(user_file: Path, content: str, words: list[str]) -> None:
    user_file.write_text(content)
    with pytest.raises(UsageError) as caught:
        load_settings({})
    assert str(user_file) in caught.value.message
    for word in words:
        assert word in f"{caught.value.message} {caught.value.hint}"


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMCTL_EDIT_UNITS", "many")
    with pytest.raises(UsageError, match="MEMCTL_EDIT_UNITS"):
        load_settings({})


def test_values_from_a_shell_are_texts_of_their_type() -> None:
    assert checked("edit.look_alikes", "3, 4", "here") == (3, 4)
    assert checked("edit.damping", "1e-2", "here") == 0.01
    assert checked("edit.units", "0", "here") == 0
    with pytest.raises(UsageError, match="one of 0, 2"):
        checked("edit.units", "1", "here")
    with pytest.raises(UsageError, match="no setting"):
        checked("nothing", "1", "here")


def test_the_edit_hash_depends_on_every_field_and_nothing_else() -> None:
    plain = settings_hash(EditSettings())
    assert plain == settings_hash(EditSettings())
    assert len({plain, settings_hash(EditSettings(layer=7)), settings_hash(EditSettings(look_alikes=(1, 2)))}) == 3


def test_a_value_is_put_where_it_belongs_and_the_rest_stays() -> None:
    before = '# mine\nmodel = "a"  # old\n\n[edit]\n# the layer\nlayer = 3\n'
    after = with_value(with_value(with_value(before, "edit.layer", 5), "edit.units", 2), "backend", "numpy")
    assert "# mine" in after
    assert "# the layer\nlayer = 5" in after
    assert with_value("", "edit.layer", 1) == "[edit]\nlayer = 1\n"
    with pytest.raises(UsageError, match="in place"):
        with_value("edit.layer = 1\n", "edit.layer", 2)


@pytest.mark.parametrize("name", ["bundled", "SmolLM2-135M-Instruct", " Bundled "])
def test_the_bundled_model_has_its_settings_under_each_of_its_names(name: str) -> None:
    assert load_settings({"model": name}).settings.edit == load_settings({}).settings.edit


def test_a_bench_is_no_model() -> None:
    assert load_settings({"model": "bench-speed"}).sources["edit.layer"] == "default"
