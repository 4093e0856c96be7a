"""What a step with a factorised Jacobian costs, in evaluations of the field: counted by the compiler, never timed.

The choice of a solver must be the same on every machine and in every run, so the costs are numbers of operations that
XLA finds in the uncompiled programs, with fixed weights for how well each kind of work runs.
"""

import functools
from typing import Any

import jax

from gradflow.calls import Context, joined, specification
from gradflow.flow import AbstractFlow
from gradflow.types import Array, Params

STEP_OVERHEAD = 2e4
"""What calling the operations of one evaluation costs, as if it were floating-point operations."""

TRANSCENDENTAL = 30.0
DENSE, FACTORISED = 0.25, 0.1
"""A transcendental function, an operation of a Jacobian and one of a factorisation, in operations of a field."""

STAGES = 8
"""Stages of the Rosenbrock method, each with one evaluation and two triangular solves."""


def factorised_step_cost(flow: AbstractFlow, params: Params) -> float:
    """Evaluations of the field that one step of Rodas5P is worth: Jacobian, factorisation, stages.

    Accuracy: within a factor of about two of what was measured on networks of 40 to 3000 parameters.
    """
    context = Context((flow, params))
    return _cost(context.form, specification(context))


@functools.lru_cache(maxsize=64)
def _cost(form: Any, arrays: tuple[tuple[tuple[int, ...], Any], ...]) -> float:
    structs = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in arrays]
    size = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lambda held: joined(form, held)[1], structs)))
    field = _operations(lambda flow, params: flow.vector_field(params), form, structs) + STEP_OVERHEAD
    jacobian = _operations(lambda flow, params: flow.jacobian(params), form, structs)
    return STAGES + (DENSE * jacobian + FACTORISED * size**3 / 3 + STAGES * size**2) / field


def _operations(function: Any, form: Any, structs: list[jax.ShapeDtypeStruct]) -> float:
    def program(arrays: list[Array]) -> Any:
        return function(*joined(form, arrays))

    found = jax.jit(program).lower(structs).cost_analysis() or {}
    return max(float(found.get("flops", 0.0)), 0.0) + TRANSCENDENTAL * float(found.get("transcendentals", 0.0))
