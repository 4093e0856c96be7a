"""Designs: starts that cover a law more evenly than independent ones do, in independent replicates.

The law is a map of the unit cube; a design chooses points of the cube. Binomial intervals are not valid for the
fractions of a design: compute a t-interval from the fractions of the replicates.
"""

import functools
import math
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from gradflow import checks
from gradflow.samplers.blocks import checked_indices, placed_starts, words_of_key
from gradflow.samplers.network_laws import Law
from gradflow.samplers.regions import Box
from gradflow.samplers.sampler import AbstractCubeSampler, AbstractSampler
from gradflow.types import Params

SOBOL_MAX_DIM = 21201
"""Dimensions for which direction numbers are tabulated (Joe and Kuo, 2008)."""

_BITS = 32
_MAX_STRATA = 2**31
_NEAREST_TO_ONE = 1.0 - 2.0**-53


class Sobol(AbstractSampler):
    """Scrambled Sobol points, mapped to a law: `replicates` independent scrambles, visited in turn.

    Start i is point ``i // replicates`` of scramble ``i % replicates``, so that the first N starts hold the first
    ``N / replicates`` points of each. Each scramble is ``scipy.stats.qmc.Sobol`` (random linear matrix scramble and
    digital shift) with a seed from (key, replicate), and every single point is uniform in the cube.

    Args:
        base: :class:`Box`, :class:`Gaussian`, :class:`Ball`, :class:`Sphere`, the user's own map of the cube, or
            :class:`Law` with independent normal entries.
        replicates: number of scrambles; the t-interval has one degree of freedom less. 16 is plenty.

    Take ``replicates`` times a power of two as the number of samples (:meth:`balanced_size`): other numbers lose the
    balance and with it most of the gain. The gain is large for few parameters (the variance of a basin's fraction
    falls 40 times at 1024 points and 2 parameters) and small from some 20 on.

    Raises:
        InputError: a law that is no map of a cube, more than 21201 dimensions, fewer than 2 replicates; later an index
            beyond 2^32 points of each scramble.

    Source: Owen, "Scrambling Sobol' and Niederreiter-Xing points" (J. Complexity 1998); Joe and Kuo (SISC 2008).
    """

    base: AbstractCubeSampler
    replicates: int = eqx.field(static=True)

    def __init__(self, base: AbstractCubeSampler | Law, replicates: int = 16):
        self.base = _cube(base)
        self.replicates = checks.integer("replicates", replicates, at_least=2)
        checks.require(
            self.base.num_uniforms <= SOBOL_MAX_DIM, "base", f"have at most {SOBOL_MAX_DIM} dimensions",
            self.base.num_uniforms, "Sample it without a design: nothing is gained in so many dimensions.",
        )  # fmt: skip

    @property
    def size(self) -> int:
        """``2^32 replicates``."""
        return 2**_BITS * self.replicates

    @property
    def num_replicates(self) -> int:
        """Number of scrambles."""
        return self.replicates

    def replicate(self, indices: Any) -> Int[np.ndarray, " num"]:
        """``i % replicates``."""
        return checked_indices(indices, self.size) % self.replicates

    def balanced_size(self, num_samples: int) -> int:
        """`replicates` times the least power of two that is enough."""
        points = -(-checks.integer("num_samples", num_samples) // self.replicates)
        return self.replicates * 2 ** (points - 1).bit_length()

    def starts(self, key: Any, indices: Any) -> Params:
        """The starts of these numbers."""
        words = words_of_key(key)
        numbers = checked_indices(indices, self.size)
        points, replicates = np.divmod(numbers, self.replicates)
        uniforms = np.empty((len(numbers), self.base.num_uniforms))
        for replicate in np.unique(replicates).tolist():
            chosen = replicates == replicate
            uniforms[chosen] = _sobol_points(words, replicate, self.base.num_uniforms, points[chosen])
        return placed_starts(self.base, uniforms)


class Stratified(AbstractSampler):
    """One start in each of many strata of equal probability, again and again: proportional allocation.

    The strata are the boxes of a grid on the unit cube that the law is a map of; for a :class:`Box`, boxes of equal
    size. Start i lies in stratum ``i % num_strata``, uniformly, with the start's own key. A sweep through all strata
    belongs to one replicate; sweep s is part of replicate ``s % replicates``.

    Args:
        base: as for :class:`Sobol`.
        cells_per_axis: cells along each axis of the cube, or one number for all; a shorter sequence leaves the
            remaining axes undivided (with many parameters the number of strata explodes).
        replicates: number of independent replicates.

    The variance of a fraction is at most that of as many independent starts: the part of it between the strata is gone.

    Raises:
        InputError: a law that is no map of a cube, cells that are not whole numbers of at least 1, one stratum only or
            more than 2^31.

    Source: Cochran, "Sampling Techniques" (3rd ed., 1977), chapter 5.
    """

    base: AbstractCubeSampler
    cells: tuple[int, ...] = eqx.field(static=True)
    replicates: int = eqx.field(static=True)

    def __init__(self, base: AbstractCubeSampler | Law, cells_per_axis: int | tuple[int, ...], replicates: int = 16):
        self.base = _cube(base)
        dim = self.base.num_uniforms
        is_one = not isinstance(cells_per_axis, tuple | list)
        entries = (cells_per_axis,) * dim if is_one else tuple(cells_per_axis)  # type: ignore[arg-type]
        checks.require(len(entries) <= dim, "cells_per_axis", f"have at most {dim} entries", len(entries))
        counts = [checks.integer(f"cells_per_axis[{axis}]", count) for axis, count in enumerate(entries)]
        self.cells = (*counts, *[1] * (dim - len(counts)))
        checks.require(
            1 < self.num_strata <= _MAX_STRATA, "cells_per_axis", "make 2 to 2^31 strata", f"{self.num_strata:.3g}",
            "Divide a few axes only, e.g. cells_per_axis=(8, 8).",
        )  # fmt: skip
        self.replicates = checks.integer("replicates", replicates, at_least=2)

    @property
    def num_strata(self) -> int:
        """Number of strata, the product of the cells per axis."""
        return math.prod(self.cells)

    @property
    def num_replicates(self) -> int:
        """Number of independent replicates."""
        return self.replicates

    def stratum(self, indices: Any) -> Int[np.ndarray, " num"]:
        """``i % num_strata``, row-major over the axes of the cube."""
        return checked_indices(indices, None) % self.num_strata

    def replicate(self, indices: Any) -> Int[np.ndarray, " num"]:
        """``(i // num_strata) % replicates``."""
        return checked_indices(indices, None) // self.num_strata % self.replicates

    def balanced_size(self, num_samples: int) -> int:
        """The least multiple of ``num_strata * replicates`` that is enough."""
        round_size = self.num_strata * self.replicates
        return -(-checks.integer("num_samples", num_samples) // round_size) * round_size

    def starts(self, key: Any, indices: Any) -> Params:
        """The starts of these numbers."""
        numbers = checked_indices(indices, None)
        jitter = Box(0.0, 1.0, like=len(self.cells)).starts(key, numbers)
        corners = np.stack(np.unravel_index(self.stratum(numbers), self.cells), axis=1)
        uniforms = np.minimum((corners + jitter) / np.array(self.cells), _NEAREST_TO_ONE)
        return placed_starts(self.base, uniforms)


def _cube(base: Any) -> AbstractCubeSampler:
    base = base.as_gaussian() if isinstance(base, Law) else base
    checks.require(
        isinstance(base, AbstractCubeSampler), "base", "be a map of the unit cube (Box, Gaussian, Ball, Sphere, Law)",
        type(base).__name__, "Other samplers can only be sampled independently.",
    )  # fmt: skip
    return base


def _sobol_points(
    words: np.ndarray, replicate: int, dim: int, points: Int[np.ndarray, " num"]
) -> Float[np.ndarray, "num dim"]:
    """Points of one scramble by their numbers: the shift plus (mod 2) the directions of the bits of the Gray code.

    The last 21 binary digits, which the scramble leaves zero, are one random number per coordinate and end in a one:
    each coordinate is uniform on the odd multiples of 2^-53, and never 0 or 1.
    """
    highest = int(points.max())
    num_bits = min(_BITS, 4 * max(3, -(-highest.bit_length() // 4)))
    shift, directions, low_digits = _scramble(tuple(int(word) for word in words), replicate, dim, num_bits)
    gray = (points ^ (points >> 1)).astype(np.uint32)
    digits = np.broadcast_to(shift, (len(points), dim)).copy()
    for bit in range(highest.bit_length()):
        digits ^= ((gray >> np.uint32(bit)) & np.uint32(1))[:, None] * directions[bit]
    return digits * 2.0**-_BITS + low_digits


@functools.lru_cache(maxsize=64)
def _scramble(
    words: tuple[int, ...], replicate: int, dim: int, num_bits: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shift, directions ``(num_bits, dim)`` and last digits of a scramble.

    SciPy's points are an affine map over GF(2) of the Gray code of their number, and ``2^{b+1} - 1`` has the Gray code
    ``2^b``: these points and the first one tell the map, and with it every point without those before it.
    """
    from scipy.stats import qmc

    rng = np.random.default_rng(np.random.SeedSequence(words, spawn_key=(replicate,)))
    engine = qmc.Sobol(dim, scramble=True, bits=_BITS, rng=rng)
    low_digits = (2 * rng.integers(2 ** (52 - _BITS), size=dim) + 1) * 2.0**-53
    shift = _digits(engine.random(1))
    directions = []
    for bit in range(num_bits):
        engine.fast_forward(2 ** (bit + 1) - 1 - engine.num_generated)
        directions.append(_digits(engine.random(1)) ^ shift)
    return shift, np.array(directions), low_digits


def _digits(point: np.ndarray) -> np.ndarray:
    return (point[0] * 2.0**_BITS).astype(np.uint32)
