"""Where the search for a value begins: the mean of the values of invented facts.

Values of unlike facts have half of their length in common: "say what you were told of this name, in a sentence". From there
40 steps come as far as 80 from zero. It is measured once per base model and layer; the bundled model's ships with the package.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from memctl.backends.protocol import Backend, Float
from memctl.editing.reference import enough
from memctl.editing.relations import bank
from memctl.editing.subjects import invented, seeded
from memctl.editing.values import Subject, Value, find_values
from memctl.errors import NonFinite
from memctl.facts import Fact, make_fact
from memctl.models.cache import cache_dir, replacing
from memctl.progress import Progress
from memctl.settings import EditSettings

FACTS = 32
"""So many relations are sampled, each with one fact; an engine for tests makes do with fewer (see `enough`)."""

SETTINGS = EditSettings(steps=40)
"""The first of these searches begin from nothing or little, so they get more steps than a fact does later."""


def first_guess(backend: Backend, layer: int, output_norm: float, progress: Progress) -> Float:
    """(d,) the mean value, from the package, the cache, or measured now (minutes for a 135M model on two cores).

    Raises:
        NonFinite: The model gives no numbers in its present dtype.
    """
    name = f"first-guess-{backend.fingerprint[:16]}-{layer}.safetensors"
    cached = cache_dir() / "statistics" / name
    for path in (Path(str(files("memctl.data") / name)), cached):
        try:
            return np.asarray(load_file(path)["guess"], np.float32)
        except (OSError, SafetensorError, KeyError):
            continue
    guess = measure(backend, layer, output_norm, progress)
    keep(cached, guess)
    return guess


def measure(backend: Backend, layer: int, output_norm: float, progress: Progress) -> Float:
    """Finds the values of invented facts: some from nothing, then all the others from the mean of those."""
    subjects = [Subject(fact.subject, (fact,)) for fact in _facts(enough(FACTS, backend))]
    first = max(1, len(subjects) // 4)
    mean: Float = np.zeros(backend.shape.hidden, np.float32)
    for part in (subjects[:first], subjects[first:]):
        values = find_values(backend, layer, part, mean, output_norm, SETTINGS, progress)
        mean = np.mean([value.residual for value in values if isinstance(value, Value)], axis=0, dtype=np.float32)
    if not np.isfinite(mean).all():
        raise NonFinite("the search for a value ran into a number that is not finite", "try another dtype")
    return mean


def keep(path: Path, guess: Float) -> None:
    """Writes a guess for `first_guess` to find."""
    with replacing(path) as partial:
        save_file({"guess": guess}, partial)


def _facts(count: int) -> list[Fact]:
    """One fact on each of so many invented people, each of another relation that people have."""
    random = seeded("first guess")
    relations = [relation for relation in bank().values() if "person" in relation.about]
    chosen = [relations[k] for k in random.permutation(len(relations))[:count]]
    return [
        make_fact(name, relation.match[0], str(random.choice(relation.objects)))
        for name, relation in zip(invented(len(chosen), "first guess"), chosen, strict=True)
    ]
