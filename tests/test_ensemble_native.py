"""The native kernel: elementary functions to the last bits, the same bits everywhere, a way out when it is missing."""

import ctypes
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from llvmlite import ir
from native_fields import jax_field, native_field

import gradflow as gf
from gradflow import checks
from gradflow.ensemble import Ensemble, kernels, plain_orders, shared_settings
from gradflow.ensemble.native import arithmetic, library

WIDE = np.longdouble
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e308, -1e308, 1.0, -1.0, 709.78, 709.79, 710.0, -745.2]
SPECIAL += [0.625, -0.625, 40.1, 1e16]

FUNCTIONS = {
    "exp": (jnp.exp, np.exp, 0.9),
    "log": (jnp.log, np.log, 0.9),
    "tanh": (jnp.tanh, np.tanh, 1.5),
    "logistic": (jax.nn.sigmoid, lambda x: 1 / (1 + np.exp(-x)), 2.2),
    "expm1": (jnp.expm1, np.expm1, 2.6),
    "log1p": (jnp.log1p, np.log1p, 2.1),
}
"""JAX's, NumPy's, and the largest error in units in the last place (found with 10^6 numbers of each kind)."""


def _numbers(name):
    rng = np.random.default_rng(7)
    wide = rng.choice([-1.0, 1.0], 4000) * np.ldexp(rng.uniform(1, 2, 4000), rng.integers(-1074, 1023, 4000))
    near = [rng.uniform(-1, 1, 4000), rng.uniform(-40, 40, 4000), 1 + rng.uniform(-1e-5, 1e-5, 1000)]
    numbers = np.concatenate([*near, wide, rng.uniform(-708, 709, 4000)])
    numbers = np.abs(numbers) if name == "log" else numbers[numbers > -1] if name == "log1p" else numbers
    return numbers[numbers > -708] if name == "logistic" else numbers


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary_functions_are_right_to_the_last_bits_over_the_whole_range(name):
    ours, exact, ulps = FUNCTIONS[name]
    field, x = native_field(ours, 1), _numbers(name)
    found, wanted = field(x[:, None])[:, 0], exact(x.astype(WIDE))
    rounded = wanted.astype(float)
    regular = np.isfinite(rounded) & (rounded != 0)
    np.testing.assert_array_equal(found[~regular], rounded[~regular])
    units = np.abs((found[regular] - wanted[regular]) / np.spacing(np.abs(rounded[regular])))
    assert np.max(units) < ulps
    special = np.array(SPECIAL)
    found, wanted = field(special[:, None])[:, 0], exact(special)
    np.testing.assert_allclose(found, wanted, rtol=1e-15)
    numbers = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found[numbers]), np.signbit(wanted[numbers]))


def test_signed_zeros_and_subnormal_numbers_stay():
    field = native_field(jnp.tanh, 1)
    x = np.array([[-0.0], [0.0], [5e-324], [-1e-310]])
    np.testing.assert_array_equal(field(x), x)
    np.testing.assert_array_equal(np.signbit(field(x)), np.signbit(x))


def _of_lanes(name, numbers):
    """What the instructions called `name` make of the numbers, eight at a time."""
    module = ir.Module("lanes")
    module.triple = library.llvm.get_default_triple()
    vector = ir.VectorType(arithmetic.DOUBLE, 8)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [vector.as_pointer()] * 2), "run")
    builder = ir.IRBuilder(function.append_basic_block())
    given = builder.load(function.args[0], typ=vector, align=8)
    builder.store(getattr(arithmetic.Lanes(builder, 8), name)(given), function.args[1], align=8)
    builder.ret_void()
    _, address = library._compiled(str(module))
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(address)
    rows = np.ascontiguousarray(numbers.reshape(-1, 8))
    found = np.empty_like(rows)
    for row, result in zip(rows, found, strict=True):
        run(row.ctypes.data, result.ctypes.data)
    return found.reshape(-1)


@pytest.mark.parametrize(
    ("name", "power", "decades", "error"),
    [("rough_reciprocal", -1, 300, 1e-5), ("rough_root", 0.5, 300, 1e-5), ("rough_tenth_root", -0.1, 30, 1e-3)],
)
def test_functions_that_choose_a_step_are_as_exact_as_they_say(name, power, decades, error):
    rng = np.random.default_rng(11)
    x = np.concatenate([10.0 ** rng.uniform(-decades, decades, 8000), rng.uniform(1, 2, 4000), rng.uniform(2, 4, 4000)])
    errors = np.abs(_of_lanes(name, x) / x**power - 1)
    assert 0.1 * error < np.max(errors) < error


def _everything(x):
    pairs = jnp.sum(1 / (0.1 + (x[:, None] - x[None]) ** 2)) + jnp.sum(jnp.tanh(x) * jnp.exp(-x * x) - x * x[::-1])
    return pairs + jnp.prod(x) * jax.nn.logsumexp(x) + jnp.sum(jnp.sin(x) ** 3)


FLOW = gf.GradientFlow(gf.Landscape(_everything))
STARTS = np.random.default_rng(0).normal(size=(33, 5))


def _ends(width=None):
    told, shared = plain_orders(len(STARTS), 1e-6, 0.5), shared_settings(1e-6, 1e-9, np.inf, 500)
    return Ensemble(FLOW, np.zeros(5), "native", width).run(STARTS, told, shared)


@pytest.mark.parametrize("width", [1, 2, 16, 64])
def test_all_widths_give_the_same_bits(width):
    np.testing.assert_array_equal(_ends(width).states, _ends(8).states)


@pytest.mark.skipif("x86" not in library.llvm.get_default_triple(), reason="emulates another x86 processor")
def test_a_processor_without_wide_vectors_gives_the_same_bits(monkeypatch):
    expected = _ends().states

    def older():
        target = library.llvm.Target.from_default_triple()
        return target.create_target_machine(cpu="haswell", features="+avx2,+fma", opt=3, jit=True)

    library._compiled.cache_clear()
    monkeypatch.setattr(library, "_machine", older)
    np.testing.assert_array_equal(_ends().states, expected)
    library._compiled.cache_clear()


def test_without_llvmlite_the_other_kernel_takes_over_and_says_why(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("gradflow.ensemble.native")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    kernel, reason = kernels.make_kernel(lambda x: -x, 2)
    assert type(kernel).__module__ == "gradflow.ensemble.xla.kernel"
    assert "llvmlite" in reason
    with pytest.raises(checks.InputError, match="llvmlite"):
        kernels.make_kernel(lambda x: -x, 2, "native")


def test_a_compiler_that_fails_is_named(monkeypatch):
    def broken(text):
        raise RuntimeError("no code today")

    monkeypatch.setattr(library, "_compiled", broken)
    _, reason = kernels.make_kernel(lambda x: -x, 2)
    assert reason.startswith("xla") and "no code today" in reason


def test_an_operation_without_instructions_goes_to_the_other_kernel():
    _, reason = kernels.make_kernel(lambda x: -jnp.sort(x), 2)
    assert reason.startswith("xla") and "sort" in reason


def test_the_other_kernel_does_not_open_reductions_as_if_they_were_calls():
    def velocity(x):
        return x * jax.lax.reduce(x, np.float64(0.0), lambda a, b: a * b + a + b, (0,))

    with jax.enable_x64(True):
        from gradflow.ensemble.xla.fields import lane_field

        states = np.random.default_rng(0).normal(size=(4, 3))
        found = np.asarray(jax.jit(lane_field(velocity, 3))(states.T)).T
    np.testing.assert_allclose(found, jax_field(velocity, states), rtol=1e-14)
