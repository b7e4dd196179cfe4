"""The engines that the contract is held against: numpy's tiny model, and random torch models."""

import functools
import tempfile
from pathlib import Path

from memctl.backends.numpy_backend import NumpyBackend
from memctl.backends.protocol import Backend

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
FAMILIES = {
    "llama": ("LlamaConfig", {}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 8}),
    "mistral": ("MistralConfig", {"sliding_window": None}),
    "phi3": ("Phi3Config", {}),
    "gemma3_text": (
        "Gemma3TextConfig",
        {
            "head_dim": 8,
            "sliding_window": 16,
            "query_pre_attn_scalar": 8,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
    ),
}
SCALED = {"granite": ("GraniteConfig", {"embedding_multiplier": 12.0, "logits_scaling": 8.0})}
"""A family that the torch engine refuses: its forward scales what goes into its layers and what comes out."""


@functools.cache
def engine(name: str) -> Backend:
    """The engine of a name, which all tests share: see `new_engine`."""
    return new_engine(name)


def new_engine(name: str) -> Backend:
    """An engine that has run nothing yet: `numpy`, or a family of FAMILIES in torch, such as `llama` or `llama bfloat16`."""
    if name == "numpy":
        return NumpyBackend()
    from memctl.backends.torch_backend import TorchBackend

    family, _, dtype = name.partition(" ")
    folder = Path(_keep.name) / family
    save_random_model(folder, family)
    return TorchBackend(folder, dtype=dtype or "float32")


_keep = tempfile.TemporaryDirectory(prefix="engines-")


def save_random_model(folder: Path, family: str) -> None:
    """A random model of a family with a byte-level tokenizer, in the Hugging Face layout."""
    import torch
    import transformers

    tokenizer = _byte_tokenizer()
    config_class, extra = (FAMILIES | SCALED)[family]
    config = getattr(transformers, config_class)(**SIZES, **extra, vocab_size=len(tokenizer))
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:  # as initialised, 0.02 wide, nothing depends on anything
                parameter.normal_(0, 0.8 * parameter.shape[-1] ** -0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _byte_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        chat_template=TEMPLATE,
        additional_special_tokens=SPECIAL[2:],
    )
