"""What a run is, in words and digests: what must agree for two runs to share a folder."""

import hashlib
from typing import Any

import jax
import numpy as np

from gradflow.basins.jobs import Plan
from gradflow.engines.facts import facts_reader
from gradflow.samplers.blocks import words_of_key

_PROBES = 4


def identity(plan: Plan) -> dict[str, Any]:
    """Everything that decides the numbers of a plan.

    A flow's field and a sampler's law are told by what they compute: the operations of the field with its data, and the
    first starts. A user's function is known by that alone, since it has no other text.
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
        "chunk_size",
    )
    starts = plan.sampler.starts(plan.key, np.arange(min(_PROBES, plan.sampler.size or _PROBES)))
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(starts)]
    example = jax.tree.map(lambda leaf: np.asarray(leaf[0]), starts)
    field = jax.make_jaxpr(plan.flow.vector_field)(example)
    constants = [np.asarray(value) for value in field.consts]
    at_starts = [np.asarray(leaf) for leaf in jax.tree.leaves(plan.flow.vector_field(example))]
    known = {} if plan.known is None else {
        name: _digest([np.asarray(leaf) for leaf in jax.tree.leaves(params)]) for name, params in plan.known.items()
    }  # fmt: skip
    return {
        "flow": type(plan.flow).__name__,
        "field": _digest([*constants, *at_starts]),
        "sampler": type(plan.sampler).__name__,
        "starts": _digest(leaves),
        "key": [int(word) for word in np.ravel(words_of_key(plan.key))],
        "known": known,
        **{name: getattr(plan, name) for name in numbers},
        "versions": facts_reader()(),
    }


def _digest(arrays: list[np.ndarray]) -> str:
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(f"{array.dtype.str}{array.shape}".encode())
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()
