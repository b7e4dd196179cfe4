"""The torch engine: any transformers decoder whose MLP is gated, on CPU or CUDA.

Compositions act beside the base through forward hooks, so the base's own tensors are never written to. What a checkpoint
holds may be loaded in fewer bits; one that holds packed weights itself is refused where they are asked for.
"""

import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.utils import logging as transformers_logging

from memctl.backends.fit import require_behind, require_fit
from memctl.backends.protocol import (
    PRISTINE,
    Activations,
    AdapterProblem,
    Encoding,
    Float,
    Lesson,
    Row,
    Scores,
    Shape,
    Tokens,
    ValueProblem,
)
from memctl.backends.torch_adapter import TorchAdapterProblem
from memctl.backends.torch_batches import (
    TOKENS_AT_ONCE,
    batches,
    common_prefix,
    families,
    holds,
    padded,
)
from memctl.backends.torch_composition import attach
from memctl.backends.torch_generation import continued
from memctl.backends.torch_layers import (
    KeyValues,
    cache_of,
    expanded,
    from_layer,
    inputs_of,
    kept_inputs,
    key_values_of,
    logits_of,
    output_of,
    require_plain_forward,
    stack_of,
    with_cache,
)
from memctl.backends.torch_spans import Beginnings, Spans
from memctl.backends.torch_values import TorchValueProblem
from memctl.deltas import Composition
from memctl.errors import ModelUnavailable, UsageError
from memctl.facts import Mode
from memctl.models.fingerprint import fingerprint, weight_files
from memctl.models.structure import mlp_layout
from memctl.models.tokenizer import load_tokenizer
from memctl.progress import plural

WHOLE = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""Numbers that mean what they say."""

StatesOf = Callable[[Callable[[], Any]], list[Tensor]]
"""Catches inner states (rows, tokens, width) of the forward pass that it is given to run."""

SAMPLED_FROM = 64
"""Sampling draws from so many of the likeliest tokens: the tail is long, slow to draw from, and makes no text."""

POSITIONS_AT_ONCE = 64
"""Positions whose distributions over the vocabulary are held at once when text is scored: each takes a megabyte or two."""


def best_dtype(device: str) -> torch.dtype:
    """bfloat16 where the hardware multiplies it faster than float32, else float32."""
    if device.startswith("cuda"):
        return torch.bfloat16
    capable = torch.backends.cpu.get_cpu_capability()
    return torch.bfloat16 if capable.startswith("AVX512") and _has_bfloat16() else torch.float32


def _has_bfloat16() -> bool:
    check: Callable[[], bool] = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return check()


class TorchBackend:
    """One base model in a local folder of the Hugging Face layout.

    Args:
        folder: Where `config.json`, the tokenizer and the safetensors lie.
        device: `cpu`, `cuda`, `cuda:1`, or `auto`: CUDA where there is a device.
        dtype: `float32`, `bfloat16`, `float16`, or `auto` (see `best_dtype`).
    """

    name = "torch"
    reference_tokens = 160_000

    def __init__(self, folder: Path, *, device: str = "auto", dtype: str = "auto") -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UsageError("this machine has no CUDA device", "use --device cpu")
        quiet: Any = transformers_logging
        quiet.set_verbosity_error()
        quiet.disable_progress_bar()
        self.folder = folder
        self.device = torch.device(device)
        self.dtype = best_dtype(device) if dtype == "auto" else getattr(torch, dtype)
        try:
            self.tokenizer = load_tokenizer(folder)
            model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=self.dtype, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ModelUnavailable(f"{folder} cannot be loaded: {error}", "memctl model list") from error
        self.model: Any = model.to(self.device).eval().requires_grad_(False)
        self.layout = mlp_layout(self.model)
        on_cuda = self.device.type == "cuda"
        named = torch.cuda.get_device_name(self.device) if on_cuda else f"cpu, {plural(torch.get_num_threads(), 'thread')}"
        self.hardware = f"{named}, {str(self.dtype).removeprefix('torch.')}"
        self.activation = self.layout.activation
        self.fingerprint = fingerprint(folder)
        self.shape = Shape(
            layers=len(self.layout.layers),
            hidden=self.layout.hidden,
            intermediate=self.layout.intermediate,
            vocabulary=self.model.get_output_embeddings().weight.shape[0],
        )
        self._projections = self._find_projections()
        self._attached: list[Composition] = [PRISTINE]
        self._hooks: list[Any] = []
        self._ends = self._end_tokens()
        require_plain_forward(self.model, [part.block for part in self.layout.layers])

    # Text

    def encode(self, prompt: str, mode: Mode, answer: str | None = None) -> Encoding:
        text = self._render_chat(prompt, answer) if mode == "chat" else prompt + (answer or "")
        special = mode == "raw" or self.tokenizer.chat_template is None  # a template brings its own beginning of text
        encoded = self.tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
        tokens = tuple(encoded["input_ids"])
        offsets = tuple((int(start), int(end)) for start, end in encoded["offset_mapping"])
        if special and tokens and tokens[-1] in self._ends and offsets[-1][0] == offsets[-1][1]:
            tokens, offsets = tokens[:-1], offsets[:-1]  # a tokenizer that closes every text: ours goes on
        begins = len(self._before_prompt) if mode == "chat" and text.startswith(self._before_prompt) else 0
        return Encoding(text, tokens, offsets, begins)

    def _render_chat(self, prompt: str, answer: str | None) -> str:
        if self.tokenizer.chat_template is None:
            opened, before = f"User: {prompt}\nAssistant:", " "
        else:
            turns = [{"role": "user", "content": prompt}]
            opened, before = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True), ""
        return opened if answer is None else opened + before + answer + self._turn_end

    @cached_property
    def _before_prompt(self) -> str:
        """What a template says before a prompt."""
        said = "memctl"
        opened = self._render_chat(said, None)
        return opened[: opened.rindex(said)]

    @cached_property
    def _turn_end(self) -> str:
        """What ends an answer: what a template puts there, whatever it would do to the answer's own white space."""
        if self.tokenizer.chat_template is None:
            return self.tokenizer.eos_token or ""
        said = "memctl"
        turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": said}]
        closed: str = self.tokenizer.apply_chat_template(turns, tokenize=False)
        return closed[closed.rindex(said) + len(said) :].rstrip()  # a line break that follows belongs to the next turn

    def _end_tokens(self) -> frozenset[int]:
        ends = {self.tokenizer.eos_token_id}
        configured = self.model.generation_config.eos_token_id
        ends |= set(configured) if isinstance(configured, list) else {configured}
        if self.tokenizer.chat_template is not None:
            last = self.encode("Hello", "chat", "Hello").tokens[-1]
            added = self.tokenizer.added_tokens_decoder.get(last)
            if added is not None and added.special:
                ends.add(last)
        return frozenset(token for token in ends if token is not None)

    def decode(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    # Inner states

    def activations(
        self, sequences: Sequence[Tokens], layer: int, positions: Sequence[Sequence[int]], under: Composition = PRISTINE
    ) -> Activations:
        part = self.layout.layers[layer]
        return Activations(*self._at(sequences, positions, under, lambda run: inputs_of((part.mlp, part.down), run)))

    @torch.inference_mode()
    def activations_behind(
        self, sequences: Sequence[Tokens], layer: int, positions: Sequence[Sequence[int]], begun: Sequence[int]
    ) -> Activations:
        require_behind(sequences, positions, begun)
        if self.device.type != "cpu":  # kernels are chosen by a batch's size there: each beginning would be a pass of its own
            return self.activations(sequences, layer, positions)
        part = self.layout.layers[layer]
        with self.attached(PRISTINE):
            seen = self._beginnings.behind(
                sequences, positions, begun, layer, lambda run: inputs_of((part.mlp, part.down), run)
            )
        return Activations(*map(_numpy, seen))

    @cached_property
    def _beginnings(self) -> Beginnings:
        """Of the pristine base; asked for where that is attached."""
        return Beginnings(Spans(self.model, self._chat_begins))

    def stream(
        self, sequences: Sequence[Tokens], layer: int, positions: Sequence[Sequence[int]], under: Composition = PRISTINE
    ) -> Float:
        block = self.layout.layers[layer].block
        (stream,) = self._at(sequences, positions, under, lambda run: [output_of(block, run)])
        return stream

    @torch.inference_mode()
    def _at(
        self, sequences: Sequence[Tokens], positions: Sequence[Sequence[int]], under: Composition, states_of: StatesOf
    ) -> list[Float]:
        """The states that `states_of` catches of a forward pass, (n, …) each, at the positions of all sequences."""
        found: list[list[Float]] = [[]] * len(sequences)
        with self.attached(under):
            for shared, family in families(sequences, positions):
                prefix = self._prefix(sequences[family[0]][:shared], states_of)
                for batch in batches([len(sequences[k]) - shared for k in family], TOKENS_AT_ONCE):
                    members = [family[k] for k in batch]
                    ids = [sequences[k][shared:] for k in members]
                    seen = states_of(self._pass(padded(ids), cache_of(expanded(prefix, len(members)))))
                    for row, k in enumerate(members):
                        at = torch.tensor([position - shared for position in positions[k]], device=self.device)
                        found[k] = [_numpy(states[row, at]) for states in seen]
        return [np.concatenate(states) for states in zip(*found, strict=True)]

    def _prefix(self, tokens: Tokens, states_of: StatesOf) -> KeyValues:
        """Attention keys and values of what sequences begin with, up to the layer that is looked at."""
        if not tokens:
            return []
        cache = DynamicCache()
        states_of(self._pass(torch.tensor([tokens]), cache))
        return key_values_of(cache)

    def _pass(self, ids: Tensor, cache: DynamicCache) -> Callable[[], None]:
        def run() -> None:
            self.model.base_model(input_ids=ids.to(self.device), **with_cache(cache), use_cache=True)

        return run

    def value_problem(self, subjects: Sequence[Sequence[Row]], layer: int, under: Composition = PRISTINE) -> ValueProblem:
        return TorchValueProblem(self.model, self.layout, subjects, layer, self._chat_begins, lambda: self.attached(under))

    @cached_property
    def _chat_begins(self) -> Tokens:
        """What every chat prompt begins with."""
        one, other = self.encode("a", "chat").tokens, self.encode("1", "chat").tokens
        return one[: common_prefix([one, other], len(one))]

    def adapter_problem(self, lessons: Sequence[Lesson], layer: int, under: Composition = PRISTINE) -> AdapterProblem:
        return TorchAdapterProblem(self.model, self.layout, self._projections, lessons, layer, self.attached, under)

    # Answers and scores under what is attached

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Tokens], max_tokens: int | Sequence[int], stop: Sequence[str] = ()) -> list[Tokens]:
        def ended(said: list[int]) -> bool:
            return bool(stop) and holds(self.decode(said), stop)

        return continued(self.model, prompts, max_tokens, self._ends, ended, lambda logits: logits.argmax(-1))

    @torch.inference_mode()
    def sample(self, prompts: Sequence[Tokens], max_tokens: int, seed: int, temperature: float) -> list[Tokens]:
        random = torch.Generator(self.device).manual_seed(seed)

        def draw(logits: Tensor) -> Tensor:
            likely, tokens = logits.float().topk(SAMPLED_FROM, -1)
            chances = torch.softmax(likely / temperature, -1)
            return tokens.gather(-1, torch.multinomial(chances, 1, generator=random))[:, 0]

        with self.attached(PRISTINE):
            return continued(self.model, prompts, max_tokens, self._ends, lambda _: False, draw)

    @torch.inference_mode()
    def score(self, sequences: Sequence[Tokens]) -> Scores:
        nll: list[Float] = [np.empty(0, np.float32)] * len(sequences)
        pristine, divergence = list(nll), list(nll)
        beside = bool(self._attached[-1])
        for batch in batches([len(sequence) for sequence in sequences], TOKENS_AT_ONCE):
            ids = padded([sequences[index] for index in batch]).to(self.device)
            states, base = self._final_states(ids)
            for row, index in enumerate(batch):
                last = len(sequences[index]) - 1
                parts = [
                    self._against(states[row, part], base[row, part] if beside else None, ids[row, part + 1])
                    for part in torch.split(torch.arange(last, device=self.device), POSITIONS_AT_ONCE)
                ]
                nll[index], pristine[index], divergence[index] = map(np.concatenate, zip(*parts, strict=True))
        return Scores(*map(np.concatenate, (nll, pristine, divergence)))

    def _against(self, states: Tensor, base: Tensor | None, said: Tensor) -> tuple[Float, Float, Float]:
        """(T,) negative log likelihood of what is said after each of (T, d) states, the base's, and KL(base ‖ now)."""
        log_p = torch.log_softmax(logits_of(self.model, states).float(), -1)
        nll = _numpy(-log_p.gather(-1, said[:, None])[:, 0])
        if base is None:
            return nll, nll, np.zeros_like(nll)
        log_q = torch.log_softmax(logits_of(self.model, base).float(), -1)
        pristine = _numpy(-log_q.gather(-1, said[:, None])[:, 0])
        return nll, pristine, _numpy((log_q.exp() * (log_q - log_p)).sum(-1))

    def _final_states(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, tokens, d) last hidden states under what is attached and of the base; the layers below it run once."""
        layers = self._attached[-1].layers()
        if not layers:
            states: Tensor = self.model.base_model(input_ids=ids).last_hidden_state
            return states, states
        block = self.layout.layers[layers[0]].block
        with kept_inputs((block,)) as entering:
            states = self.model.base_model(input_ids=ids).last_hidden_state
        with self.attached(PRISTINE), from_layer(stack_of(self.model, block), layers[0]):
            base: Tensor = self.model.base_model(inputs_embeds=entering[0]).last_hidden_state
        return states, base

    # Compositions

    @contextmanager
    def attached(self, composition: Composition) -> Iterator[None]:
        require_fit(composition, self.shape, self.projections())
        self._attached.append(composition)
        try:
            self._hook(composition)
            yield
        finally:
            self._attached.pop()
            self._hook(self._attached[-1])

    def _hook(self, composition: Composition) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = attach(self.layout, self._projections, composition, self.device)

    # The base's own tensors

    def mlp_weights(self, layer: int) -> dict[str, Float]:
        part = self.layout.layers[layer]
        if part.gate_up is None:
            modules = {"gate": part.gate, "up": part.up, "down": part.down}
            return {name: self._stored(module) for name, module in modules.items()}
        halves = np.split(self._stored(part.gate_up), 2)
        gate, up = halves if self.layout.gate_first else halves[::-1]
        return {"gate": gate, "up": up, "down": self._stored(part.down)}

    def _stored(self, module: Any) -> Float:
        """A projection's weight as the checkpoint has it: what is loaded may have been rounded to fewer bits."""
        name = self._name_of(module)
        for path in weight_files(self.folder):
            with safe_open(path, framework="pt") as checkpoint:
                if name in checkpoint.keys():  # noqa: SIM118 (no mapping)
                    return _unpacked(name, checkpoint.get_tensor(name), module)
        return _numpy(module.weight)

    def projections(self) -> dict[str, tuple[int, int]]:
        return {path: (module.in_features, module.out_features) for path, module in self._projections.items()}

    def _find_projections(self) -> dict[str, Any]:
        paths = {module: path for path, module in self.model.named_modules()}
        parts = ((part.gate_up, part.gate, part.up, part.down) for part in self.layout.layers)
        return {paths[module]: module for own in parts for module in own if module is not None}

    def tensor_names(self, layer: int) -> dict[str, str]:
        part = self.layout.layers[layer]
        gate, up = part.gate or part.gate_up, part.up or part.gate_up
        return {"gate": self._name_of(gate), "up": self._name_of(up), "down": self._name_of(part.down)}

    def _name_of(self, module: Any) -> str:
        name: str = next(name for name, found in self.model.named_modules() if found is module)
        return f"{name}.weight"

    def rehash(self) -> str:
        return fingerprint(self.folder, fresh=True)

    def memory_bytes(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _unpacked(name: str, tensor: Tensor, module: Any) -> Float:
    """A checkpoint's tensor; `ModelUnavailable` where it is packed, as its shape tells, or in numbers that need a scale."""
    if tuple(tensor.shape) != (module.out_features, module.in_features) or tensor.dtype not in WHOLE:
        raise ModelUnavailable(f"{name} is packed in the checkpoint", "use the checkpoint that it was quantised from")
    return _numpy(tensor)


def _numpy(tensor: Tensor) -> Float:
    return tensor.float().cpu().numpy()
