"""Reference text: what a base model says by itself, as token ids. Statistics come from it; drift is never measured on it.

The bundled model's ships with the package. That of other models is sampled once and cached under their fingerprint.
"""

import zlib
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from memctl.backends.protocol import Backend, Tokens
from memctl.editing.relations import bank, in_turn
from memctl.editing.subjects import contexts, invented
from memctl.models.cache import cache_dir, replacing
from memctl.progress import Progress

REFERENCE_TOKENS = 160_000
SEQUENCE_TOKENS = 96
SEED = 20261
FORMAT = 2
"""Raised whenever what is sampled changes, so that an older cache is made anew."""

_UNREADABLE = (OSError, EOFError, KeyError, RuntimeError, ValueError, BadZipFile, zlib.error)
"""What numpy and zipfile raise for an archive that is missing, empty, cut short, or has a wrong byte somewhere."""


def enough(count: int, backend: Backend) -> int:
    """So many samples of a statistic, or the share of them that the engine's reference text is of a full one."""
    return max(2, count * backend.reference_tokens // REFERENCE_TOKENS)


def reference(backend: Backend, progress: Progress) -> list[Tokens]:
    """The reference text of a base model, some 160k tokens of a real one: half of it raw, half of it chat."""
    name = file_name(backend)
    shipped = Path(str(files("memctl.data") / name))
    cached = cache_dir() / "statistics" / name
    if shipped.exists():
        return load(shipped)
    with suppress(*_UNREADABLE):
        return load(cached)
    texts = sample(backend, backend.reference_tokens, progress)
    save(cached, texts)
    return texts


def file_name(backend: Backend) -> str:
    """Of a base model's reference text, in the package's data and in the cache."""
    return f"reference-{backend.fingerprint[:16]}-v{FORMAT}.npz"


def sample(backend: Backend, tokens: int, progress: Progress) -> list[Tokens]:
    """Samples reference text from the pristine base, at temperature 1."""
    prompts = openings(backend)
    texts: list[Tokens] = []
    made = 0
    while made < tokens:
        batch = [prompts[(len(texts) + k) % len(prompts)] for k in range(64)]
        replies = backend.sample(batch, SEQUENCE_TOKENS, seed=SEED + len(texts), temperature=1.0)
        texts.extend(prompt + reply for prompt, reply in zip(batch, replies, strict=True))
        made = sum(map(len, texts))
        progress("sampling reference text", min(made, tokens), tokens)
    return texts


def openings(backend: Backend) -> list[Tokens]:
    """What the samples begin with: openings of texts, and what the bank's training wordings ask about invented people."""
    said, asked = list(contexts().generic_prompts), [f"{prompt} ..." for prompt in contexts().generic_prompts]
    relations = [relation for relation in bank().values() if "person" in relation.about]
    people = iter(invented(len(contexts().chat) + len(relations), "reference"))
    asked += [turn.replace("{s}", next(people)) for turn in contexts().chat]
    for k, (relation, name) in enumerate(zip(relations, people, strict=True)):
        (_, form), (_, question) = in_turn(relation, k)
        said.append(form.replace("{s}", name))
        asked.append(question.replace("{s}", name))
    raw = [backend.encode(text, "raw").tokens for text in said]
    chat = [backend.encode(turn, "chat").tokens for turn in asked]
    return [opening for k in range(max(len(raw), len(chat))) for opening in (raw[k % len(raw)], chat[k % len(chat)])]


def save(path: Path, texts: list[Tokens]) -> None:
    """Writes token ids as one flat array and the sequences' lengths."""
    flat = np.concatenate([np.array(text) for text in texts])
    kind = np.uint16 if flat.max() < 2**16 else np.uint32
    with replacing(path) as partial:
        np.savez_compressed(partial, tokens=flat.astype(kind), lengths=np.array([len(text) for text in texts]))


def load(path: Path) -> list[Tokens]:
    """Reads what `save` wrote; raises one of `_UNREADABLE` where the file is not that."""
    with np.load(path) as stored:
        ends = np.cumsum(stored["lengths"])
        return [tuple(part.tolist()) for part in np.split(stored["tokens"], ends[:-1])]
