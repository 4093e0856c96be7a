"""Formulas that a user types: a loss in x and y, read without ever running what was typed.

The text is parsed by Python's own parser, and only the nodes listed here are allowed: numbers, x, y, pi, e, arithmetic
and a few functions of jax.numpy. Everything else, names and attributes above all, is refused before JAX is imported.
"""

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

from gradflow import checks

FUNCTIONS = ("abs", "arctan", "cos", "cosh", "exp", "log", "log1p", "sin", "sinh", "sqrt", "square", "tan", "tanh")
CONSTANTS = {"pi": math.pi, "e": math.e}
VARIABLES = ("x", "y")

MAX_LENGTH = 400
"""Longer texts could nest deeper than the interpreter's stack."""

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


class Expression:
    """A scalar function of ``(x, y)``, an array of two numbers, from a text such as ``"0.5*(x*y - 1)**2"``.

    Raises:
        InputError: not a formula, or one with anything but the allowed parts; the message says which.
    """

    def __init__(self, text: str):
        checks.require(len(text) <= MAX_LENGTH, "expression", f"have at most {MAX_LENGTH} characters", len(text))
        try:
            self.body = ast.parse(text.strip(), mode="eval").body
        except SyntaxError as error:
            place = f"{error.msg} at character {error.offset}"
            raise checks.InputError(f"`expression` must be a formula in x and y, but got {text!r}: {place}.") from None
        _check(self.body, text)
        self.text = text

    def __call__(self, params: Any) -> Any:
        """The value at ``params = (x, y)``."""
        return _value(self.body, params)


def _check(node: ast.AST, text: str) -> None:
    match node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            _check(left, text)
            _check(right, text)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            _check(operand, text)
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            checks.require(abs(value) < 1e300, "expression", "hold numbers below 1e300", "a larger one")
        case ast.Name(id=name):
            checks.choice("expression", name, (*VARIABLES, *CONSTANTS))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            checks.choice("expression", name, FUNCTIONS)
            _check(argument, text)
        case _:
            part = ast.get_source_segment(text.strip(), node) or type(node).__name__
            allowed = f"+ - * / **, x, y, {', '.join(CONSTANTS)} and functions of one argument: {', '.join(FUNCTIONS)}"
            checks.require(
                False, "expression", "hold numbers and allowed parts only", repr(part), f"Allowed: {allowed}."
            )


def _value(node: ast.AST, params: Any) -> Any:
    import jax.numpy as jnp

    match node:
        case ast.BinOp(left=left, op=ast.Pow(), right=right) if (exponent := _small_whole(right)) is not None:
            # A whole exponent stays one: its derivatives are then right at 0 and for negative numbers too.
            return _value(left, params) ** exponent
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, params), _value(right, params))
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_value(operand, params))
        case ast.Constant(value=int() | float() as value):
            return jnp.asarray(float(value))
        case ast.Name(id=name):
            return params[VARIABLES.index(name)] if name in VARIABLES else jnp.asarray(CONSTANTS[name])
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            return getattr(jnp, name)(_value(argument, params))
    raise TypeError(ast.dump(node))


def _small_whole(node: ast.AST) -> int | None:
    match node:
        case ast.Constant(value=int() as value) if abs(value) <= 64:
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            positive = _small_whole(operand)
            return None if positive is None else -positive
    return None
