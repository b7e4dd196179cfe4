from pathlib import Path

import pytest

from memctl.bench.run import model_name


@pytest.mark.parametrize(
    ("model", "name"), [("numpy", "numpy"), ("bundled", "smollm2-135m-instruct"), ("owner/model", "owner/model")]
)
def test_a_model_is_named_as_it_can_be_asked_for(model: str, name: str) -> None:
    assert model_name(model) == name


def test_of_a_model_that_is_a_file_a_report_names_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"")
    assert model_name(str(path)) == "tiny.gguf"
