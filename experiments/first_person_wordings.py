"""Questions of the third person put into the first by rule, and those of the first asked about the model."""

import re

VERBS = {"is": "am", "has": "have", "does": "do", "goes": "go", "was": "was"}
BEFORE_ME = r"(to|for|with|about|by|from|at|of|on|in|around|near|before|behind|and|like|than|see|visit|tell|give|asks?|asked"
BEFORE_ME += r"|know|buy|send|meet|calls?|visiting|seeing|asking|giving|sending|let|makes?|made|help|show|teach|invite)"
"""Words behind which a name becomes "me", and not "I"."""


def in_person(text: str) -> str:
    """A question about `{s}` as the user would ask it of himself, nearly always in good English; empty where no rule fits."""
    if re.search(r"\{s\}\s*[:–,(\"]|[\"“(:]\s*\{s\}|\b(his|her|him|she|he|their|they|person|someone)\b", text):
        return ""
    text = re.sub(r"\bthe ((?:[\w-]+ ){0,3}?[\w-]+) of \{s\}(?!')", r"my \1", text)
    text = re.sub(r"\bThe ((?:[\w-]+ ){0,3}?[\w-]+) of \{s\}(?!')", r"My \1", text)
    text = re.sub(r"^\{s\}'s", "My", text).replace("{s}'s", "my")
    text = re.sub(r"\b([Dd])oes \{s\}", r"\1o I", text)
    text = re.sub(r"\b([Ii])s \{s\}", lambda m: "Am I" if m[1] == "I" else "am I", text)
    text = re.sub(r"\b([Hh])as \{s\}", r"\1ave I", text)
    text = re.sub(r"\b([Dd]id|[Ww]as|[Cc]an|[Ww]ould|[Ww]ill|[Ss]hould|[Cc]ould|[Mm]ight|[Mm]ust|[Hh]ad) \{s\}", r"\1 I", text)

    def pronoun(found: re.Match[str]) -> str:
        before, verb = found[1], (found[2] or "").strip()
        if re.fullmatch(BEFORE_ME, before.strip(), re.I):
            return f"{before}me{found[2] or ''}"
        return f"{before}I {_of_me(verb)}" if verb else f"{before}I"

    text = re.sub(r"((?:[\w']+ )?)\{s\}( [a-z]+)?", pronoun, text)
    return text if "{s}" not in text and re.search(r"\b(I|me|[Mm]y)\b", text) else ""


def of_the_model(text: str) -> str:
    """A question of the user's about himself, asked about the model."""
    for own, other in (
        (r"\bam I\b", "are you"),
        (r"\bI am\b", "you are"),
        (r"\bI was\b", "you were"),
        (r"\bwas I\b", "were you"),
    ):
        text = re.sub(own, other, text)
    for own, other in ((r"\bI\b", "you"), (r"\bme\b", "you"), (r"\bmy\b", "your"), (r"\bMy\b", "Your")):
        text = re.sub(own, other, text)
    return text


def _of_me(verb: str) -> str:
    """The first person of a verb in the third."""
    if verb in VERBS:
        return VERBS[verb]
    if re.fullmatch(r"\w+(ch|sh|ss|x|zz)es", verb):
        return verb[:-2]
    if re.fullmatch(r"\w{2,}ies", verb):
        return verb[:-3] + "y"
    return verb[:-1] if re.fullmatch(r"\w+[^s]s", verb) else verb
