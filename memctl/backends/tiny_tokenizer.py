"""Tokens of the tiny model: UTF-8 bytes, pairs of small letters, a space with its letter, and marks of turns.

Pairs halve the length of English, so that names and answers fit where those of a trained tokenizer would. A
character's bytes share its span.
"""

import re
from collections.abc import Sequence
from itertools import product
from string import ascii_letters, ascii_lowercase

from memctl.backends.protocol import Encoding
from memctl.facts import Mode

BOS, USER, ASSISTANT, END = 256, 257, 258, 259
_MARKS = {BOS: "<bos>", USER: "<user>", ASSISTANT: "<assistant>", END: "<end>"}
_PIECES = [f" {letter}" for letter in ascii_letters] + ["".join(pair) for pair in product(ascii_lowercase, repeat=2)]
_IDS = {piece: token for token, piece in enumerate(_PIECES, start=260)}
_BYTES = [bytes([token]) for token in range(256)] + [b""] * 4 + [piece.encode() for piece in _PIECES]
_SPLIT = re.compile(r" [A-Za-z]|[a-z]{2}|.", re.DOTALL)

VOCABULARY = len(_BYTES)
COMMON = (*b"abcdefghijklmnopqrstuvwxyz .", END, *_IDS.values())
"""What English is made of, as far as an untrained model can be said to expect it."""


def encode(prompt: str, mode: Mode, answer: str | None = None) -> Encoding:
    """`<bos>` and the text, or `<bos><user>prompt<end><assistant>answer<end>`.

    Raw text does not show its `<bos>`, whose span is empty. Marks that stand in a prompt are spelled as bytes.
    """
    if mode == "raw":
        return _join([prompt + (answer or "")], shown=False)
    turn: list[int | str] = [USER, prompt, END, ASSISTANT]
    return _join(turn if answer is None else [*turn, answer, END], shown=True)


def decode(tokens: Sequence[int]) -> str:
    """The text of the tokens; marks are left out, and what is no UTF-8 becomes U+FFFD."""
    return b"".join(_BYTES[token] for token in tokens).decode(errors="replace")


def _join(parts: Sequence[int | str], shown: bool) -> Encoding:
    text = _MARKS[BOS] if shown else ""
    tokens, offsets = [BOS], [(0, len(text))]
    for part in parts:
        begin = len(text)
        if isinstance(part, int):
            text += _MARKS[part]
            tokens.append(part)
            offsets.append((begin, len(text)))
            continue
        text += part
        for piece in _SPLIT.finditer(part):
            found = [_IDS[piece[0]]] if piece[0] in _IDS else list(piece[0].encode(errors="replace"))
            tokens += found
            offsets += [(begin + piece.start(), begin + piece.end())] * len(found)
    return Encoding(text, tuple(tokens), tuple(offsets))
