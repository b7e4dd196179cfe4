"""What the values of invented facts tell of all others: their mean, and where the gradients of their searches lie.

Values of unlike facts have half of their length in common: "say what you were told of this name, in a sentence". From there
40 steps of Adam came as far as 80 from zero. A few directions of the stream move what is said far more than all others,
whatever the fact; see `descent`. Both are measured once per base model and layer; the bundled model's ship with the package.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from memctl.backends.protocol import Backend, Float
from memctl.editing.descent import Start, start
from memctl.editing.reference import enough
from memctl.editing.relations import bank
from memctl.editing.subjects import invented, seeded
from memctl.editing.values import Subject, Value, find_values
from memctl.errors import EditFailed, NonFinite
from memctl.facts import Fact, make_fact
from memctl.models.cache import cache_dir, replacing
from memctl.progress import Progress
from memctl.settings import EditSettings

FORMAT = 1
"""Raised whenever what is measured changes, so that an older cache is made anew."""

FACTS = 32
"""So many relations are sampled, each with one fact; an engine for tests makes do with fewer (see `enough`)."""

SETTINGS = EditSettings(steps=40, probe_weight=0.2)
"""The first of these searches begin from nothing or little, so they get more steps than a fact does later."""


def first_guess(backend: Backend, layer: int, output_norm: float, progress: Progress) -> Start:
    """From the package, the cache, or measured now (minutes for a 135M model on two cores).

    Raises:
        EditFailed, NonFinite: Nothing can be found with this model.
    """
    name = file_name(backend, layer)
    cached = cache_dir() / "statistics" / name
    for path in (Path(str(files("memctl.data") / name)), cached):
        try:
            kept = load_file(path)
            return Start(kept["guess"], kept["directions"], kept["shares"])
        except (OSError, SafetensorError, KeyError):
            continue
    found = measure(backend, layer, output_norm, progress)
    keep(cached, found)
    return found


def file_name(backend: Backend, layer: int) -> str:
    """Of a layer's first guess, in the package's data and in the cache."""
    return f"first-guess-{backend.fingerprint[:16]}-{layer}-v{FORMAT}.safetensors"


def measure(backend: Backend, layer: int, output_norm: float, progress: Progress) -> Start:
    """Finds the values of invented facts: some from nothing, then all the others from the mean of those.

    Raises:
        EditFailed: Not one of them has a value.
        NonFinite: The model gives no numbers in its present dtype.
    """
    subjects = [Subject(fact.subject, (fact,)) for fact in _facts(enough(FACTS, backend))]
    first = max(1, len(subjects) // 4)
    known = start(np.zeros(backend.shape.hidden, np.float32), ())
    for part in (subjects[:first], subjects[first:]):
        gradients: list[Float] = []
        values = find_values(backend, layer, part, known, output_norm, SETTINGS, progress, gradients.append)
        if not any(isinstance(value, Value) for value in values):
            reasons = (f"{type(value).__name__}: {value}" for value in values if isinstance(value, Exception))
            raise EditFailed({"invented facts": f"their texts are not found again in what the model reads ({next(reasons)})"})
        mean: Float = np.mean([value.residual for value in values if isinstance(value, Value)], axis=0, dtype=np.float32)
        if not np.isfinite(mean).all():
            raise NonFinite("the search for a value ran into a number that is not finite", "try another dtype")
        known = start(mean, gradients)
    return known


def keep(path: Path, found: Start) -> None:
    """Writes a first guess for `first_guess` to find."""
    with replacing(path) as partial:
        save_file({"guess": found.guess, "directions": found.directions, "shares": found.shares}, partial)


def _facts(count: int) -> list[Fact]:
    """One fact on each of so many invented people, each of another relation that people have."""
    random = seeded("first guess")
    relations = [relation for relation in bank().values() if "person" in relation.about]
    chosen = [relations[k] for k in random.permutation(len(relations))[:count]]
    return [
        make_fact(name, relation.match[0], str(random.choice(relation.objects)))
        for name, relation in zip(invented(len(chosen), "first guess"), chosen, strict=True)
    ]
