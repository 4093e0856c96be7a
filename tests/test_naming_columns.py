"""The arithmetic and the labels that naming does for many rows at once."""

import numpy as np
import pytest

import gradflow as gf
from gradflow.critical_points import refine
from gradflow.naming import columns, examine, labels
from gradflow.naming.relu import _by_cone


@pytest.mark.parametrize("size", [1, 2, 3, 11, 14])
def test_small_matrices_are_treated_as_numpy_does_and_row_by_row(size):
    rng = np.random.default_rng(size)
    matrices = rng.normal(size=(300, size, size)) * 10.0 ** rng.integers(-8, 8, size=(300, 1, 1))
    matrices += matrices.transpose(0, 2, 1)
    matrices[:6] = [np.zeros((size, size)), np.eye(size), -np.eye(size), np.ones((size, size)), -np.ones((size, size)),
                    np.diag(np.arange(size) - 1.0)]  # fmt: skip
    values, vectors = columns.eigh(np.asfortranarray(matrices))
    radius = np.abs(matrices).max(axis=(1, 2)) + 1e-300
    assert np.all(np.abs(values - np.linalg.eigvalsh(matrices)).max(axis=1) <= 4e-15 * size * radius)
    assert np.all(np.diff(values, axis=1) >= 0)
    rebuilt = np.matmul(vectors * values[:, None, :], vectors.transpose(0, 2, 1))
    assert np.all(np.abs(rebuilt - matrices).max(axis=(1, 2)) <= 8e-15 * size * radius)
    np.testing.assert_allclose(np.matmul(vectors.transpose(0, 2, 1), vectors), [np.eye(size)] * 300, atol=1e-13)
    rows = columns.in_columns(values)
    np.testing.assert_allclose(columns.norms(rows), np.linalg.norm(values, axis=1), rtol=1e-14)
    np.testing.assert_allclose(columns.sums(rows), values.sum(axis=1), atol=1e-13 * radius.max())
    expected = np.matmul(values[:, None, :], vectors)[:, 0, :]
    np.testing.assert_allclose(columns.products(rows, vectors), expected, atol=1e-14 * radius.max() * size)
    for row in (4, 100):
        one, alone = slice(row, row + 1), columns.eigh(np.asfortranarray(matrices[row : row + 1]))
        np.testing.assert_array_equal(alone[1][0], vectors[row])
        np.testing.assert_array_equal(columns.products(rows[one], alone[1])[0], columns.products(rows, vectors)[row])
        np.testing.assert_array_equal(columns.norms(rows[one])[0], columns.norms(rows)[row])
        np.testing.assert_array_equal(columns.taken(vectors, np.array([row]))[0], vectors[row])


def test_a_draft_is_finished_with_the_labels_that_occur():
    draft, other = labels.Draft.blank(5), labels.Draft.blank(2)
    draft.give(np.array([0, 1, 4]), labels.KINK)
    draft.give(np.arange(5) == 4, labels.SLOW)
    draft.give(np.array([1]), labels.OTHER)
    other.give(np.array([0]), labels.Label(labels.SLOW.text, "undetermined", 0.0))
    draft.put(np.array([1, 2]), other)
    assert draft.is_open.tolist() == [False, False, True, True, False]
    assert draft.has(labels.KINK).tolist() == [True] + 4 * [False]
    found, codes = draft.finished()
    assert [label.text for label in found] == sorted([labels.KINK.text, labels.SLOW.text])
    assert [found[code].text if code >= 0 else None for code in codes] == [
        labels.KINK.text, labels.SLOW.text, None, None, labels.SLOW.text
    ]  # fmt: skip


def test_rows_are_gathered_by_cone_whatever_the_number_of_samples():
    rng = np.random.default_rng(0)
    for num_samples in (1, 3, 8, 9, 70):
        active = rng.random((200, num_samples)) < 0.5
        active[50:100] = active[:50]
        parts = dict(_by_cone(active))
        assert sorted(np.concatenate(list(parts.values()))) == list(range(200))
        assert len(parts) == len({row.tobytes() for row in active})
        for cone, members in parts.items():
            expected = np.isin(np.arange(num_samples), cone)
            np.testing.assert_array_equal(active[members], np.tile(expected, (len(members), 1)))
    assert dict(_by_cone(np.zeros((0, 3), dtype=bool))) == {}


def test_a_second_step_by_the_same_hessian_does_not_cross_a_kink():
    # the first step leads onto the kink, where the gradient of the piece behind it is large
    X, Y = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]), np.array([[1.0, 2.0, 0.0]])
    problem = gf.Regression(gf.networks.Shallow((2, 1, 1), "relu"), X, Y)
    state = (np.array([[1.68803784, 1.46275853e-05]]), np.array([[0.59237325]]))
    point = refine(problem, state)
    found = examine(problem, tuple(layer[None] for layer in state))
    assert point.is_critical and found.is_critical[0]
    assert found.displacement[0] == pytest.approx(point.displacement, rel=1e-3)
    assert found.grad_norm[0] <= 1e-14
