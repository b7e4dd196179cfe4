"""The tokenizer that lies in a model's folder."""

from pathlib import Path
from typing import Any

import orjson

PLAIN = "PreTrainedTokenizerFast"


def load_tokenizer(folder: Path) -> Any:
    """As transformers loads it; one of the plain class as tokenizer.json has it.

    For some architectures, Qwen2's among them, transformers does not believe in the plain class and builds the splitting of
    the model's own class anew, which is not what the fingerprint was taken of.

    Raises:
        OSError: A file is missing.
        ValueError: A file is no tokenizer's.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    file = folder / "tokenizer_config.json"
    config = orjson.loads(file.read_bytes()) if file.is_file() else {}
    plain = isinstance(config, dict) and config.get("tokenizer_class") == PLAIN
    kind: Any = PreTrainedTokenizerFast if plain and (folder / "tokenizer.json").is_file() else AutoTokenizer
    return kind.from_pretrained(folder, local_files_only=True)
