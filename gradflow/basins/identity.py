"""What a run is, in words and digests: what must agree for two runs to share a folder."""

import hashlib
from typing import Any

import jax
import numpy as np

from gradflow.basins.jobs import Plan
from gradflow.engines.facts import process_facts
from gradflow.samplers.blocks import words_of_key
from gradflow.samplers.descriptions import described

FOLLOWS = {"starts": ("key", "sampler"), "field": ("key", "sampler", "flow", "problem")}
"""Digests, and the entries of :func:`identity` whose differences they follow from."""

_PROBES = 4


def identity(plan: Plan) -> dict[str, Any]:
    """Everything that decides the numbers of a plan.

    A flow is told by its velocities at the first starts, to the last bit: a user's function has no other text.
    """
    numbers = (
        "num_samples",
        "t1",
        "rtol",
        "atol",
        "grad_tol",
        "max_norm",
        "max_steps",
        "tolerance",
        "kernel",
        "solver",
        "chunk_size",
    )
    starts = plan.sampler.starts(plan.key, np.arange(min(_PROBES, plan.sampler.size or _PROBES)))
    velocities = jax.vmap(plan.flow.vector_field)(starts)
    digest = lambda tree: _digest([np.asarray(leaf) for leaf in jax.tree.leaves(tree)])  # noqa: E731
    known = {} if plan.known is None else {
        name: digest(params) for name, params in plan.known.items()
    }  # fmt: skip
    return {
        "flow": type(plan.flow).__name__,
        "problem": type(plan.flow.problem).__name__,
        "field": digest(velocities),
        "sampler": described(plan.sampler),
        "starts": digest(starts),
        "key": [int(word) for word in np.ravel(words_of_key(plan.key))],
        "known": known,
        **{name: getattr(plan, name) for name in numbers},
        "versions": {name: value for name, value in process_facts().items() if name != "JAX_ENABLE_X64"},
    }


def _digest(arrays: list[np.ndarray]) -> str:
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(f"{array.dtype.str}{array.shape}".encode())
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()
