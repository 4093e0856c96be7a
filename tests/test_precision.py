"""Double precision wherever a user meets the library, and the user's own JAX configuration left as it was."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradflow as gf
from gradflow import checks
from gradflow.precision import SINGLE_RTOL, as_params, in_double

IMPORT = """
import sys
import gradflow
heavy = [name for name in ("matplotlib", "jax", "diffrax", "scipy", "xarray", "sklearn") if name in sys.modules]
import jax
before = dict(jax.config.values)
import gradflow.integration, gradflow.studies, gradflow.store, gradflow.datasets, gradflow.critical_points
gradflow.study, gradflow.datasets.load, gradflow.save, gradflow.model_problems
assert dict(jax.config.values) == before, "jax.config was changed"
print(heavy, "matplotlib" in sys.modules)
"""


def test_importing_is_instant_draws_nothing_and_leaves_jax_as_it_was():
    answer = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    assert answer.stdout.split("\n")[0] == "[] False"


def test_a_function_in_double_precision_keeps_every_digit_and_the_setting():
    assert not jax.config.jax_enable_x64

    @in_double
    def third(x):
        return {"value": jnp.asarray(x) / 3, "vector": jnp.ones(2) / 3, "name": "third"}

    result = third(1.0)
    assert result["value"] == 1 / 3 and result["vector"].dtype == np.float64 and result["name"] == "third"
    assert isinstance(result["vector"], np.ndarray)
    assert not jax.config.jax_enable_x64


def test_a_user_in_double_precision_gets_jax_arrays_back():
    @in_double
    def same(x):
        return jnp.asarray(x)

    with jax.enable_x64(True):
        assert isinstance(same(1.0), jax.Array)


def test_inside_a_users_own_trace_the_function_runs_in_the_traces_precision():
    problem = gf.Landscape(lambda x: jnp.sum(x**2))
    assert jax.jit(problem.loss)(jnp.ones(2)).dtype == jnp.float32
    np.testing.assert_allclose(jax.grad(problem.loss)(jnp.ones(2)), 2.0)


def test_parameters_become_double_precision_without_a_change_of_value():
    params = {"a": np.float32([0.1, 0.2]), "b": 3}
    with jax.enable_x64(True):
        converted = as_params(params)
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(converted))
    np.testing.assert_array_equal(converted["a"], params["a"].astype(float))


@pytest.mark.parametrize("params", [(), {}, None])
def test_parameters_without_an_array_are_refused(params):
    with pytest.raises(checks.InputError, match="`params0` must have at least one array"):
        as_params(params)


def test_a_single_precision_start_is_refused_for_a_tolerance_beyond_its_digits():
    flow = gf.GradientFlow(gf.Landscape(lambda x: 0.5 * jnp.sum(x**2)))
    with pytest.raises(
        checks.InputError, match=r"`rtol` must be at least 1.2e-05 for a start in float32 \(`params0`\)"
    ):
        gf.integrate(flow, jnp.ones(2), 1.0, rtol=1e-8)
    run = gf.integrate(flow, jnp.ones(2), 1.0, rtol=2 * SINGLE_RTOL, atol=1e-8)
    np.testing.assert_allclose(run.endpoint, np.exp(-1.0), rtol=1e-4)
    assert run.endpoint.dtype == np.float64
