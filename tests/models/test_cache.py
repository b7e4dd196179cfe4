"""Files in the cache are there whole or not at all, whoever else makes the same one."""

from contextlib import suppress
from pathlib import Path

from memctl.models.cache import replacing


def test_two_that_make_the_same_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "new" / "reference.npz"
    with replacing(path) as first, replacing(path) as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
        assert not path.exists()
        assert first.suffix == path.suffix  # by which numpy goes
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "inputs.safetensors"
    path.write_bytes(b"old")
    with suppress(RuntimeError), replacing(path) as partial:
        partial.write_bytes(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
