"""Critical points of deep linear networks with known captured sets, built block by block (no test in this file).

Paper 002, Theorem 3, in block form: with ``S`` an orthonormal basis of what is captured and ``Q`` of the rest, and
invertible ``D_h``, ``W_1 = D_1 [S^T Y X^+ ; Z_1]``, ``W_h = D_h diag(I, Z_h) D_{h-1}^{-1}`` and
``W_l = [S, Q Z_l] D_{l-1}^{-1}``. The gradient vanishes when ``Z_{h-1} ... Z_1 M Z_l ... Z_{h+1} = 0`` for every h,
``M = X Y^T Q``; the families below are ways to reach that. Zero singular values may be captured too.
"""

import warnings

import numpy as np

from gradflow import Regression, checks, networks

FAMILIES = ("two zero blocks", "first block annihilated", "outer blocks annihilated", "all zero")


def orthogonal(rng, size):
    return np.linalg.qr(rng.normal(size=(size, size)))[0]


def problem(rng, widths, rank_x=None, singular_values=None, **settings):
    """A regression whose target has these singular values (default: random in [0.5, 3]) and whose X has this rank."""
    d_in, d_out = widths[0], widths[-1]
    rank = rank_x or d_in
    samples = d_in + 3
    right = orthogonal(rng, samples)
    X = orthogonal(rng, d_in)[:, :rank] @ np.diag(rng.uniform(0.5, 2, size=rank)) @ right[:rank]
    size = min(d_out, rank)
    values = np.sort(rng.uniform(0.5, 3, size=size))[::-1] if singular_values is None else singular_values[:size]
    target = orthogonal(rng, d_out)[:, :size] @ np.diag(np.array(values, float)) @ orthogonal(rng, rank)[:size]
    noise = 0.3 * rng.normal(size=(d_out, samples - rank))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.HypothesisWarning)
        return Regression(networks.Linear(widths), X, target @ right[:rank] + noise @ right[rank:], **settings)


def critical_point(rng, problem, captured, family):
    """Weights that capture the given singular values (0-based indices into all d_out of them)."""
    X, Y, widths = np.asarray(problem.X), np.asarray(problem.Y), problem.network.widths
    num_layers, k = len(widths) - 1, len(captured)
    left = _mixed_within_groups(rng, problem.spectrum)
    S, Q = left[:, list(captured)], np.delete(left, list(captured), axis=1)
    M, pinv_x = X @ Y.T @ Q, np.linalg.pinv(X, rcond=1e-10)
    blocks = [_low_rank(rng, rows - k, columns - k) for rows, columns in zip(widths[1:], widths[:-1], strict=True)]
    blocks[0] = _low_rank(rng, widths[1] - k, widths[0])
    _satisfy(rng, blocks, M, family)
    bases = [orthogonal(rng, d) @ np.diag(rng.uniform(0.6, 1.6, size=d)) @ orthogonal(rng, d) for d in widths[1:-1]]
    free = rng.normal(size=(k, widths[0])) @ (np.eye(widths[0]) - X @ pinv_x)
    layers = [bases[0] @ np.vstack([S.T @ Y @ pinv_x + free, blocks[0]])]
    for h in range(1, num_layers - 1):
        middle = np.zeros((widths[h + 1], widths[h]))
        middle[:k, :k], middle[k:, k:] = np.eye(k), blocks[h]
        layers.append(bases[h] @ middle @ np.linalg.inv(bases[h - 1]))
    layers.append(np.hstack([S, Q @ blocks[-1]]) @ np.linalg.inv(bases[-1]))
    return tuple(layers)


def random_critical_point(rng, problem):
    """Weights with a random captured set (the largest in most cases) of a random family."""
    d_out, limit = problem.network.widths[-1], min(problem.network.widths[1:])
    k = int(rng.integers(0, limit + 1))
    captured = tuple(range(k)) if rng.random() < 0.6 else tuple(sorted(rng.permutation(d_out)[:k].tolist()))
    return critical_point(rng, problem, captured, FAMILIES[rng.integers(len(FAMILIES))]), captured


def _satisfy(rng, blocks, M, family):
    num_layers, pinv_m = len(blocks), np.linalg.pinv(M, rcond=1e-10)
    zero = []
    if family == "two zero blocks":
        zero = rng.permutation(num_layers)[:2]
    elif family == "first block annihilated" or (family == "outer blocks annihilated" and num_layers < 3):
        blocks[0] = blocks[0] @ (np.eye(len(M)) - M @ pinv_m)
        zero = [rng.integers(1, num_layers)]
    elif family == "outer blocks annihilated":
        blocks[0] = blocks[0] @ (np.eye(len(M)) - M @ pinv_m)
        blocks[-1] = (np.eye(M.shape[1]) - pinv_m @ M) @ blocks[-1]
        zero = [rng.integers(1, num_layers - 1)]
    else:
        zero = range(num_layers)
    for h in zero:
        blocks[h] = np.zeros_like(blocks[h])


def _low_rank(rng, rows, columns):
    rank = rng.integers(0, min(rows, columns) + 1) if min(rows, columns) > 0 else 0
    return rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))


def _mixed_within_groups(rng, spectrum):
    left = np.array(spectrum.left)
    for group in spectrum.groups:
        left[:, list(group)] = left[:, list(group)] @ orthogonal(rng, len(group))
    return left
