"""Random numbers of the closed-form families: NumPy generators from the keys that the whole library takes."""

import jax
import numpy as np

from gradflow.initial_laws import KeyLike, as_key


def generator(key: KeyLike | np.random.Generator) -> np.random.Generator:
    """The NumPy generator that belongs to a key; the same key always gives the same numbers.

    Args:
        key: a JAX key, a non-negative integer seed, or a generator, which is handed through and advances.

    Raises:
        InputError: none of these.
    """
    if isinstance(key, np.random.Generator):
        return key
    return np.random.default_rng([int(word) for word in np.asarray(jax.random.key_data(as_key(key))).ravel()])
