"""Gradient descent for one vector, preconditioned by all that its gradients have in common.

    d = − η · P (C + a I)^−½ P m / ‖…‖,    C = Σ_t (1 − β₂) β₂^(T−t) P g_t (P g_t)ᵀ,    a = RIDGE · tr C

with m the running mean of the gradients g_t. The full matrix is that of full-matrix AdaGrad (Duchi, Hazan & Singer 2011); it
has no more directions than there were gradients and is never formed, as in GGT (Agarwal et al. 2019). P is what is known
before the first step, from the gradients G of other searches, each of length one, whose mean GGᵀ has the eigenvalues λ:

    P = (GGᵀ / λ₁ + FLOOR · I)^−¼

Adam's diagonal knows nothing of what coordinates do together: it came as far in forty steps as this in twenty, and with three
facts in one vector its loss after equally many steps was two to three times this one's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memctl.backends.protocol import Float

MOMENTUM, DECAY = 0.8, 0.9
"""β₁ and β₂. Little of either: in so few steps a stale gradient costs more than a noisy one."""

RIDGE = 0.01
"""What a direction without any gradient counts for, as a share of all directions' together."""

WINDOW = 64
"""Gradients that are kept; the one before them would weigh a thousandth."""

FLOOR = 0.03
DIRECTIONS = 64
"""Eigenvectors of GGᵀ that are kept; the next would lie under the floor."""


@dataclass(frozen=True)
class Start:
    """What is known before a search begins.

    Attributes:
        guess: (d,) where it begins.
        directions: (d, r) orthonormal, where the gradients of other searches lie.
        shares: (r,) how much of them lies there, the most of it being 1.
    """

    guess: Float
    directions: Float
    shares: Float

    def evened(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """P times a vector (d,)."""
        elsewhere = FLOOR**-0.25
        more = (self.shares + FLOOR) ** -0.25 - elsewhere
        evened: NDArray[np.float64] = elsewhere * vector + self.directions @ (more * (self.directions.T @ vector))
        return evened


def start(guess: Float, gradients: Sequence[Float]) -> Start:
    """From gradients (d,) of searches that began at such a guess; without any, P is a multiple of I."""
    lengths = [np.linalg.norm(each) for each in gradients]
    even = [each / length for each, length in zip(gradients, lengths, strict=True) if length]
    if not even:
        return Start(guess, np.zeros((len(guess), 0), np.float32), np.zeros(0, np.float32))
    directions, roots, _ = np.linalg.svd(np.array(even, np.float64).T, full_matrices=False)
    shares = (roots / roots[0]) ** 2
    return Start(guess, directions[:, :DIRECTIONS].astype(np.float32), shares[:DIRECTIONS].astype(np.float32))


class FullMatrix:
    """The state of one vector's descent, in float64."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._mean = np.zeros(len(start.guess))
        self._root: NDArray[np.float64] = np.zeros((len(start.guess), 0))
        """(d, at most WINDOW) with C as its product with itself transposed."""

    def step(self, gradient: Float, length: float) -> Float:
        """What to take off: a vector (d,) of this length; zero where all gradients were, not finite where one is not."""
        if not np.isfinite(gradient).all():
            return np.full_like(gradient, np.nan)  # whoever gets the value says so, better than LAPACK would
        new = self._start.evened(gradient.astype(np.float64))
        self._mean = MOMENTUM * self._mean + (1 - MOMENTUM) * new
        self._root = np.column_stack([DECAY**0.5 * self._root, (1 - DECAY) ** 0.5 * new])[:, -WINDOW:]
        directions, roots, _ = np.linalg.svd(self._root, full_matrices=False)
        ridge = RIDGE * float(roots @ roots)
        if not ridge:
            return np.zeros_like(gradient)
        along = directions.T @ self._mean
        # Where no gradient lies C is nothing, and (C + aI)^−½ is a^−½.
        even = self._mean / ridge**0.5 + directions @ (along * ((roots**2 + ridge) ** -0.5 - ridge**-0.5))
        change = self._start.evened(even)
        return np.asarray(change * (length / max(float(np.linalg.norm(change)), 1e-300)), np.float32)
