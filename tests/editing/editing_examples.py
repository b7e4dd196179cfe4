"""Made-up traces and deltas for tests of what is done with them."""

import numpy as np

from memctl.editing.solve import Trace

D, M = 24, 48


def unit_trace(name: str, seed: int, towards: np.ndarray | None = None) -> Trace:
    """A trace whose two units together answer with 1 to its own direction, and to `towards` if given, and else not at all."""
    random = np.random.default_rng(seed)
    x = np.zeros(D)
    x[seed] = 1.0
    c = np.zeros(D)
    c[-1] = 1.0  # every key has a 1 here: the constant direction
    key = np.stack([x + c, x + c], axis=1)
    w = x if towards is None else x + 0.8 * towards
    gate, up = 40 * (w - 0.5 * c), c / 20
    return Trace(
        name,
        3,
        key.astype(np.float32),
        random.standard_normal((D, 1)).astype(np.float32),
        np.stack([gate, gate]).astype(np.float32),
        np.stack([1.6 * up, -0.6 * up]).astype(np.float32),
    )


def plain_trace(name: str, random: np.random.Generator, key: np.ndarray | None = None) -> Trace:
    """A trace of a plain edit with two keys alike, or the keys given."""
    if key is None:
        key = random.standard_normal((M, 1)) + 0.3 * random.standard_normal((M, 2))
    none = np.empty((0, D), np.float32)
    return Trace(name, 3, key.astype(np.float32), random.standard_normal((D, 1)).astype(np.float32), none, none)


def second_moment(random: np.random.Generator, width: int = M) -> np.ndarray:
    """(width, width) a covariance that prefers some directions."""
    A = random.standard_normal((width, 3 * width)) * np.geomspace(3, 0.3, width)[:, None]
    return A @ A.T / (3 * width)
