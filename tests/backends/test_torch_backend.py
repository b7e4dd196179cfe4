"""What only the torch engine can get wrong: chat templates of other kinds, and a composition for which there is no room."""

import json
import re
from pathlib import Path

import pytest
from engines import TEMPLATE, save_random_model

from memctl.backends import torch_composition
from memctl.backends.torch_backend import TorchBackend
from memctl.deltas import Columns, Composition, Delta, Edit
from memctl.editing.subjects import mentions
from memctl.errors import ModelUnavailable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_random_model(tmp_path / "model", "llama")
    return tmp_path / "model"


def with_template(folder: Path, template: str | None) -> TorchBackend:
    backend = TorchBackend(folder, dtype="float32")
    backend.tokenizer.chat_template = template
    return backend


def test_a_template_that_trims_answers_ends_those_that_begin_or_end_with_white_space(folder: Path) -> None:
    backend = with_template(folder, TEMPLATE.replace("message['content']", "message['content'] | trim"))
    for answer in (" Oslo.", "Oslo. ", "Oslo\n", " ", ""):
        text = backend.encode("Where does Ana live?", "chat", answer).text
        assert text.endswith(f"<|assistant|>\n{answer}<|end|>")


def test_without_a_template_a_chat_begins_as_a_text_and_ends_with_its_end(folder: Path) -> None:
    backend = with_template(folder, None)
    backend.tokenizer.add_special_tokens({"bos_token": "<|begin|>"})
    from tokenizers.processors import TemplateProcessing

    begin = backend.tokenizer.bos_token_id
    processor = TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", begin)])
    backend.tokenizer.backend_tokenizer.post_processor = processor
    asked, told = backend.encode("Where?", "chat"), backend.encode("Where?", "chat", "Oslo.")
    assert asked.tokens[0] == told.tokens[0] == begin
    assert told.tokens[-1] == backend.tokenizer.eos_token_id
    assert told.tokens[: len(asked.tokens)] == asked.tokens
    assert backend.decode(told.tokens[len(asked.tokens) :]) == " Oslo."


def test_a_name_in_what_a_template_says_before_a_prompt_is_no_mention(folder: Path) -> None:
    said = "<|user|>You are Quill, made by Hugging Face.<|end|>"
    (folder / "chat_template.jinja").write_text(said + TEMPLATE)
    backend = TorchBackend(folder, dtype="float32")
    encoding = backend.encode("Where is Hugging Face?", "chat", "Hugging Face is in Oslo.")
    starts = [encoding.offsets[mention[0]][0] for mention in mentions(encoding, "Hugging Face")]
    assert starts == [at.start() for at in re.finditer("Hugging Face", encoding.text)][1:]


@pytest.mark.parametrize("factor", ["embedding_multiplier", "logits_scaling"])
def test_a_family_whose_forward_scales_what_its_layers_see_is_refused(tmp_path: Path, factor: str) -> None:
    save_random_model(tmp_path / "model", "granite")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    others = {name: 1.0 for name in ("embedding_multiplier", "logits_scaling") if name != factor}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | others))
    with pytest.raises(ModelUnavailable, match="more than its layers"):
        TorchBackend(tmp_path / "model", dtype="float32")


def test_where_there_is_no_room_for_a_composition_nothing_of_it_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    backend = TorchBackend(folder, dtype="float32")
    prompt = [backend.encode("Where does Ana live?", "chat").tokens]
    before = backend.generate(prompt, 8)
    one = np.ones((1, 32), np.float32)
    edits = tuple(Edit(layer, Columns(one, one, 9 * one.T), one.T, one.T) for layer in (1, 2))
    made, whole = [], torch_composition._beside_mlp

    def full(*given: object) -> object:
        made.append(given)
        if len(made) == 2:
            raise RuntimeError("out of memory")
        return whole(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(torch_composition, "_beside_mlp", full)
    with pytest.raises(RuntimeError, match="memory"), backend.attached(Composition(((Delta(edits), 1.0),))):
        pass
    assert backend.generate(prompt, 8) == before
