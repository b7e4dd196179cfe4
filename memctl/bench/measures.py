"""What is measured, and how it is written."""

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["share", "percent", "seconds", "number"]


@dataclass(frozen=True)
class Measure:
    """A measure's name for people, its kind, and what it says."""

    label: str
    kind: Kind
    meaning: str

    @property
    def range(self) -> tuple[float, float]:
        """The least and the most that it can be."""
        return (-1.0 if self.kind == "percent" else 0.0), (1.0 if self.kind == "share" else math.inf)

    def text(self, value: float | None) -> str:
        """The value as it stands in a table."""
        if value is None:
            return "–"
        if self.kind == "percent":
            return f"{value:+.2%}" if abs(value) < 1 else f"{value:+,.0%}" if abs(value) < 1e3 else f"{100 * value:+.0e}%"
        return f"{value:.3g}" if self.kind == "number" else f"{value:.2f}"


def _recall(what: str) -> str:
    return f"share of facts recalled {what}"


MEASURES = {
    "raw": Measure("raw", "share", _recall("in the user's own raw prompt")),
    "chat": Measure("chat", "share", _recall("in a chat question")),
    "raw_new": Measure("raw, new", "share", _recall("in raw wordings that were never trained on")),
    "chat_new": Measure("chat, new", "share", _recall("in chat wordings that were never trained on")),
    "least_raw": Measure("least raw", "share", "recall in the user's own raw prompts, of the subject that has the least"),
    "least_chat": Measure("least chat", "share", "the same in chat questions"),
    "unedited_raw": Measure("unedited raw", "share", "the same without any fact told"),
    "unedited_chat": Measure("unedited chat", "share", "the same without any fact told"),
    "unedited_raw_new": Measure("unedited raw, new", "share", "the same without any fact told"),
    "unedited_chat_new": Measure("unedited chat, new", "share", "the same without any fact told"),
    "same_raw": Measure("same raw", "share", "unseen people, look-alikes among them, whose answer is the base's to the token"),
    "same_chat": Measure("same chat", "share", "the same in chat"),
    "bleed_raw": Measure("bleed raw", "share", "unseen people whose answer now names a stored object"),
    "bleed_chat": Measure("bleed chat", "share", "the same in chat"),
    "relation_bleed_raw": Measure(
        "relation bleed raw", "share", "questions about another relation of a stored subject that now name the stored object"
    ),
    "relation_bleed_chat": Measure("relation bleed chat", "share", "the same in chat"),
    "named": Measure("named", "share", "recalled answers for which `ask --why` first names the memory of their own subject"),
    "unnamed": Measure("unnamed", "share", "general questions, and questions about the model, for which it names no memory"),
    "unnamed_people": Measure("unnamed people", "share", "the same for unseen people, look-alikes among them"),
    "drift": Measure("drift", "percent", "change of perplexity on text that no edit saw"),
    "divergence": Measure("KL", "number", "mean KL divergence from the base per token of that text, in nats"),
    "refused": Measure("refused", "number", "facts that it could not take in, or that pre-flight would refuse"),
    "seconds": Measure("s", "seconds", "to take all facts in at once; of those that slept, their writing and all nights"),
    "seconds_per_fact": Measure("s per fact", "seconds", "to tell one more fact; of memctl with read-back and drift"),
    "edit_seconds_per_fact": Measure("edit s per fact", "seconds", "values, keys, units and solve alone"),
    "forward_seconds_per_fact": Measure("forward s per fact", "seconds", "one forward pass over the fact's training cues"),
    "ratio": Measure("per forward pass", "number", "telling a fact, in forward passes over its training cues"),
    "edit_ratio": Measure("edit per forward pass", "number", "the edit alone, in the same unit"),
    "tokens_per_second": Measure("tokens/s with", "number", "generation with the memory attached"),
    "tokens_per_second_without": Measure("tokens/s without", "number", "generation without it, in turns with the former"),
    "speed_kept": Measure("speed kept", "number", "tokens/s with the memory attached, over those without"),
    "peak_memory_gib": Measure("peak GiB", "number", "most memory that the process has held so far"),
    "general": Measure("general kept", "share", "general questions that the base answers, and that are still answered"),
    "identity": Measure("identity kept", "share", "questions about the model itself, answered as by the base"),
    "stage3": Measure("stage 3", "share", "facts that the adapter carries alone, their edit gone"),
    "edits": Measure("edits", "number", "edits that are left in the composition"),
    "sleep_seconds": Measure("s of sleep", "seconds", "the sleeps since the last cell"),
    "store_mib": Measure("store MiB", "number", "bytes of the memory directory, its history included"),
    "live_mib": Measure("live MiB", "number", "the same after `memctl gc --keep-last 1`"),
    "efficacy": Measure("efficacy", "share", "the record's own prompt, teacher-forced"),
    "paraphrase": Measure("paraphrase", "share", "its paraphrases, teacher-forced"),
    "specificity": Measure("specificity", "share", "prompts that the edit must not touch, teacher-forced"),
    "unedited_efficacy": Measure("unedited efficacy", "share", "the same without any fact told"),
    "unedited_paraphrase": Measure("unedited paraphrase", "share", "the same without any fact told"),
    "unedited_specificity": Measure("unedited specificity", "share", "the same without any fact told"),
    "efficacy_generated": Measure("efficacy, generated", "share", "greedy answers to the record's prompt that name the object"),
    "paraphrase_generated": Measure("paraphrase, generated", "share", "the same for its paraphrases"),
    "specificity_generated": Measure("specificity, generated", "share", "greedy answers that still name the true object"),
    "unedited_efficacy_generated": Measure("unedited efficacy, generated", "share", "the same without any fact told"),
    "unedited_paraphrase_generated": Measure("unedited paraphrase, generated", "share", "the same without any fact told"),
    "unedited_specificity_generated": Measure("unedited specificity, generated", "share", "the same without any fact told"),
}
