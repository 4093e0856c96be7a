"""Argument checks, statuses, networks and regularisers: what is accepted comes back, what is refused says why."""

import enum
import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradflow import checks, networks, regularizers
from gradflow.status import Status


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_real_number_comes_back_as_it_was(value):
    assert checks.real("x", value) == value


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        ("1.0", {}, "`x` must be a real number, but got '1.0'"),
        (True, {}, "`x` must be a real number, but got True"),
        (None, {}, "`x` must be a real number, but got None"),
        ([1.0, 2.0], {}, r"`x` must be a real number, but got \[1.0, 2.0\]"),
        (math.nan, {}, "`x` must be a number, but got NaN"),
        (math.inf, {}, "`x` must be finite, but got inf"),
        (math.nan, {"infinite": True}, "`x` must be a number, but got NaN"),
        (0.0, {"above": 0.0}, "`x` must be greater than 0, but got 0"),
        (-1e-300, {"at_least": 0.0}, "`x` must be at least 0, but got -1e-300"),
        (1.0, {"below": 1.0}, "`x` must be less than 1, but got 1"),
    ],
)
def test_a_real_number_out_of_range_is_refused(value, limits, message):
    with pytest.raises(checks.InputError, match=message):
        checks.real("x", value, **limits)


def test_infinity_is_a_number_where_it_is_allowed():
    assert checks.real("x", math.inf, above=0.0, infinite=True) == math.inf


@pytest.mark.parametrize(
    "value", [3, np.int32(3), 3.0, np.float64(3.0)], ids=lambda value: type(value).__name__ + repr(value)
)
def test_a_whole_number_comes_back_as_an_int(value):
    assert checks.integer("n", value) == 3 and type(checks.integer("n", value)) is int


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2.5, "`n` must be a whole number, but got 2.5"),
        (True, "`n` must be a whole number, but got True"),
        ("3", "`n` must be a whole number, but got '3'"),
        (math.nan, "`n` must be a whole number, but got nan"),
        (0, "`n` must be at least 1, but got 0"),
    ],
)
def test_anything_but_a_whole_number_of_at_least_one_is_refused(value, message):
    with pytest.raises(checks.InputError, match=message):
        checks.integer("n", value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (4, "`widths` must be a sequence of layer widths, but got 4"),
        ((4,), r"`widths` must have at least two entries \(input and output width\), but got \(4,\)"),
        ((4, 0, 2), r"`widths\[1\]` must be at least 1, but got 0"),
        ((4, 2.5), r"`widths\[1\]` must be a whole number, but got 2.5"),
    ],
)
def test_widths_that_are_no_widths_are_refused(value, message):
    with pytest.raises(checks.InputError, match=message):
        checks.widths(value)


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(
        checks.InputError, match=r"but got 'tsit'\. Perhaps you meant 'tsit5'\. Choices: dopri5, tsit5\."
    ):
        checks.choice("solver", "tsit", ["tsit5", "dopri5"])
    with pytest.raises(checks.InputError, match=r"but got 'q'\. Choices: dopri5, tsit5\.$"):
        checks.choice("solver", "q", ["tsit5", "dopri5"])


@pytest.mark.parametrize(
    ("value", "ndim", "message"),
    [
        ([[1.0, math.nan], [math.inf, 0.0]], 2, r"`X` must be finite, but got nan at row 0, column 1 \(2 such entries"),
        ([0.0, -math.inf], 1, "`X` must be finite, but got -inf at axis 0 1"),
        ([["1", "a"], ["2", "b"]], 2, r"text or objects in column 1 \(first such entry: .*a'?\)"),
        (["a"], None, r"`X` must hold numbers, but got text or objects\. Encode or drop that column"),
        ([1j], None, "`X` must hold real numbers, but got complex numbers"),
        ([1.0], 2, r"`X` must have 2 axes, but got shape \(1,\)"),
        (np.zeros((3, 0)), 2, r"`X` must hold at least one number, but got shape \(3, 0\)\. There are no samples"),
    ],
)
def test_an_array_that_is_no_array_of_finite_numbers_is_refused(value, ndim, message):
    with pytest.raises(checks.InputError, match=message):
        checks.finite_array("X", value, ndim)


@pytest.mark.parametrize("dtype", [np.int8, np.float32, bool])
def test_narrower_numbers_are_promoted_exactly(dtype):
    array = np.array([[0, 1], [1, 1]], dtype)
    assert checks.finite_array("X", array).dtype == np.float64
    assert (checks.finite_array("X", array) == array).all()


@pytest.mark.parametrize("scale", [1e-101, 1e101])
def test_data_whose_squares_leave_double_precision_are_refused(scale):
    with pytest.raises(checks.InputError, match=r"between 1e-60 and 1e60.*Rescale the data"):
        checks.data_scale("X", np.array([[scale]]))


@pytest.mark.parametrize(
    ("rtol", "atol", "message"),
    [
        (-1e-6, 0.0, "`rtol` must be greater than 0"),
        (0.0, 0.0, "`rtol` must be greater than 0"),
        (1e-15, 0.0, "`rtol` must be at least 1e-14 in double precision, but got 1e-15. Use rtol=1e-14 or more"),
        (1.5, 0.0, "`rtol` must be at most 1, but got 1.5"),
        (1e-6, -1.0, "`atol` must be at least 0"),
        (1e-6, math.nan, "`atol` must be a number, but got NaN"),
    ],
)
def test_tolerances_that_mean_nothing_are_refused(rtol, atol, message):
    with pytest.raises(checks.InputError, match=message):
        checks.tolerances(rtol, atol)


def test_a_tolerance_without_a_digit_is_warned_of():
    with pytest.warns(checks.AccuracyWarning, match="no digit of the trajectory can be relied on"):
        assert checks.tolerances(0.1, 0.0) == (0.1, 0.0)


def test_only_wrong_calls_are_value_errors():
    assert issubclass(checks.InputError, ValueError)
    assert issubclass(checks.ResultsFileError, OSError)
    assert not issubclass(checks.NumericalFailure, ValueError)


# --- statuses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", Status)
def test_every_status_says_what_happened(status):
    assert str(status) == status.value and status.remedy.endswith(".")
    assert status.remedy not in {other.remedy for other in Status if other is not status}


def test_the_statuses_are_those_of_the_architecture_and_three_are_failures():
    names = {"stationary", "horizon", "escaped", "nonfinite", "step_limit", "stalled", "interrupted", "event"}
    assert {status.value for status in Status} == names
    assert {status.value for status in Status if status.is_failure} == {"nonfinite", "step_limit", "stalled"}
    assert isinstance(Status.STATIONARY, enum.Enum)


# --- networks and regularisers ----------------------------------------------------------------------------------------


def test_a_linear_network_applies_its_layers_in_acting_order():
    network = networks.Linear((3, 2, 4))
    assert network.shapes == ((2, 3), (4, 2)) and network.num_layers == 2
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 3)), rng.normal(size=(4, 2))
    inputs = rng.normal(size=(3, 5))
    np.testing.assert_allclose(network((first, second), inputs), second @ first @ inputs, rtol=1e-14)


def test_weight_decay_is_half_the_squared_norm_and_its_gradient_the_weights():
    rng = np.random.default_rng(1)
    params = (rng.normal(size=(2, 3)), rng.normal(size=(1, 2)))
    decay = regularizers.WeightDecay(0.3)
    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(decay)(params)
    assert value == pytest.approx(0.15 * sum(np.sum(layer**2) for layer in params), rel=1e-14)
    for part, layer in zip(gradient, params, strict=True):
        np.testing.assert_allclose(part, 0.3 * layer, rtol=1e-14)


@pytest.mark.parametrize("strength", [-0.1, math.nan, "much"])
def test_weight_decay_of_no_strength_is_refused(strength):
    with pytest.raises(checks.InputError, match="`strength` must be"):
        regularizers.WeightDecay(strength)
