"""Formulas that a user types: a loss in x and y, or in more variables, read without ever running what was typed.

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
LETTERS = ("x", "y", "z", "w")
MAX_NUMBERED = 64
"""More variables than the letters are x1, x2, x3, ..., up to this number."""

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

    Args:
        text: the formula.
        variables: names of the entries of the array; :func:`variables_of` reads them off the text.

    Two of one text are equal, so what JAX has compiled for one is there for the other.

    Raises:
        InputError: not a formula, or one with anything but the allowed parts; the message says which.
    """

    def __init__(self, text: str, variables: tuple[str, ...] = VARIABLES):
        self.body = _parsed(text, variables)
        _check(self.body, text, variables)
        self.text, self.variables = text, variables

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and (self.text, self.variables) == (other.text, other.variables)

    def __hash__(self) -> int:
        return hash((self.text, self.variables))

    def __call__(self, params: Any) -> Any:
        """The value at ``params = (x, y)``."""
        return _value(self.body, params, self.variables)


def variables_of(text: str) -> tuple[str, ...]:
    """The variables of a formula in x, y, z, w or in x1, x2, x3, ..., at least the first two.

    Raises:
        InputError: not a formula, variables of both kinds, or one that is left out before another one.
    """
    names = {node.id for node in ast.walk(_parsed(text, LETTERS)) if isinstance(node, ast.Name)}
    numbered = tuple(f"x{number}" for number in range(1, MAX_NUMBERED + 1))
    used = names.intersection(numbered)
    known = numbered if used else LETTERS
    mixed = sorted(names.intersection(LETTERS)) if used else []
    checks.require(not mixed, "expression", "have either x, y, z, w or x1, x2, ... for variables", f"{mixed} too")
    last = max((known.index(name) for name in names.intersection(known)), default=0)
    variables = known[: max(last + 1, 2)]
    unknown = sorted(names.difference(known, CONSTANTS, FUNCTIONS))
    if unknown:
        remedy = f"Variables are x, y, z, w, or x1, x2, ... {checks.nearest(unknown[0], (*CONSTANTS, *FUNCTIONS))}"
        checks.require(False, "expression", "hold known names only", repr(unknown[0]), remedy)
    left_out = [name for name in variables if name not in names]
    remedy = "A parameter that the loss does not depend on never moves. Rename the variables."
    checks.require(not left_out, "expression", f"hold all of {', '.join(variables)}", f"no {' and no '.join(left_out)}",
                   remedy)  # fmt: skip
    return variables


def _parsed(text: str, variables: tuple[str, ...]) -> ast.expr:
    checks.require(len(text) <= MAX_LENGTH, "expression", f"have at most {MAX_LENGTH} characters", len(text))
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        place = f"{error.msg} at character {error.offset}" if error.offset else error.msg
        known = " and ".join([", ".join(variables[:-1]), variables[-1]])
        raise checks.InputError(f"`expression` must be a formula in {known}, but got {text!r}: {place}.") from None


def _check(node: ast.AST, text: str, variables: tuple[str, ...]) -> None:
    match node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            _check(left, text, variables)
            _check(right, text, variables)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            _check(operand, text, variables)
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            checks.require(abs(value) < 1e300, "expression", "hold numbers below 1e300", "a larger one")
        case ast.Name(id=name):
            checks.choice("expression", name, (*variables, *CONSTANTS))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            checks.choice("expression", name, FUNCTIONS)
            _check(argument, text, variables)
        case _:
            part = ast.get_source_segment(text.strip(), node) or type(node).__name__
            known = ", ".join([*variables, *CONSTANTS])
            power = "Write ** for a power. " if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor) else ""
            allowed = f"+ - * / **, {known} and functions of one argument: {', '.join(FUNCTIONS)}"
            remedy = f"{power}Allowed: {allowed}."
            checks.require(False, "expression", "hold numbers and allowed parts only", repr(part), remedy)


def _value(node: ast.AST, params: Any, variables: tuple[str, ...]) -> Any:
    import jax.numpy as jnp

    match node:
        case ast.BinOp(left=left, op=ast.Pow(), right=right) if (exponent := _small_whole(right)) is not None:
            # A whole exponent stays one: its derivatives are then right at 0 and for negative numbers too.
            return _value(left, params, variables) ** exponent
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, params, variables), _value(right, params, variables))
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](_value(operand, params, variables))
        case ast.Constant(value=int() | float() as value):
            return jnp.asarray(float(value))
        case ast.Name(id=name):
            return params[variables.index(name)] if name in variables else jnp.asarray(CONSTANTS[name])
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            return getattr(jnp, name)(_value(argument, params, variables))
    raise TypeError(ast.dump(node))


def _small_whole(node: ast.AST) -> int | None:
    match node:
        case ast.Constant(value=int() as value) if abs(value) <= 64:
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            positive = _small_whole(operand)
            return None if positive is None else -positive
    return None
