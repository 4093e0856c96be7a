"""Which operations of a traced function are calls of another one, to be opened up; both kernels ask."""

from collections.abc import Sequence
from typing import Any

CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
    "core_closed_call": "call_jaxpr", "checkpoint": "jaxpr", "remat": "jaxpr", "remat2": "jaxpr",
    "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "custom_vjp_call_jaxpr": "fun_jaxpr",
}  # fmt: skip
"""Calls, and the parameter that holds what is called. Other operations with a function inside (reductions, loops,
branches) do something else with it than call it once."""


def call_of(equation: Any) -> tuple[Any, Sequence[Any]] | None:
    """The body of a call and its constants, or None when the operation is no call."""
    body = equation.params.get(CALLS.get(equation.primitive.name, ""))
    if body is None:
        return None
    return (body.jaxpr, body.consts) if hasattr(body, "consts") else (body, ())
