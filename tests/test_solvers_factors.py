"""The kept Cholesky factor: against NumPy's solution for sizes on both sides of every block border."""

import jax
import numpy as np
import pytest

from gradflow.solvers.factors import BLOCK, CholeskyFactor


def _matrix(size, condition=1e3):
    rng = np.random.default_rng(size)
    turn = np.linalg.qr(rng.standard_normal((size, size)))[0]
    return (turn * np.geomspace(1.0, condition, size)) @ turn.T


@pytest.mark.parametrize("size", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 250])
def test_it_solves_what_numpy_solves(size):
    matrix, right = _matrix(size), np.random.default_rng(1).standard_normal(size)
    with jax.enable_x64(True):
        found = jax.jit(lambda m, r: CholeskyFactor.of(m).solve(r))(matrix, right)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-10, atol=1e-12)


def test_its_residual_is_rounding_for_a_stiff_matrix():
    matrix, right = _matrix(200, 1e10), np.random.default_rng(2).standard_normal(200)
    with jax.enable_x64(True):
        found = np.asarray(CholeskyFactor.of(matrix).solve(right))
    assert np.linalg.norm(matrix @ found - right) < 1e-12 * np.linalg.norm(matrix, 2) * np.linalg.norm(found)


def test_only_the_lower_triangle_is_read():
    matrix, right = _matrix(120), np.ones(120)
    with jax.enable_x64(True):
        found = CholeskyFactor.of(np.tril(matrix) + np.triu(np.full((120, 120), 7.0), 1)).solve(right)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-10)


@pytest.mark.parametrize("size", [3, 130])
def test_a_matrix_that_is_not_positive_definite_gives_nan(size):
    matrix = _matrix(size)
    matrix[-1, -1] = -1.0
    with jax.enable_x64(True):
        assert np.isnan(np.asarray(CholeskyFactor.of(matrix).solve(np.ones(size)))).any()


@pytest.mark.parametrize("size", [5, BLOCK, 250])
def test_zeros_have_a_factors_shapes(size):
    with jax.enable_x64(True):
        shapes = [
            jax.tree.map(np.shape, one) for one in (CholeskyFactor.of(np.eye(size)), CholeskyFactor.zeros(size, float))
        ]
    assert jax.tree.leaves(shapes[0]) == jax.tree.leaves(shapes[1])
    assert jax.tree.structure(shapes[0]) == jax.tree.structure(shapes[1])
