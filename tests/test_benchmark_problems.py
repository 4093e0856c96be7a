"""The solvers' benchmark: its fields by hand are the flows' own, and its verdicts compare at equal error."""

from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
import pytest

import gradflow as gf

FOLDER = str(Path(__file__).parents[1] / "benchmarks" / "solvers")


@pytest.fixture(scope="module")
def modules():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        import detest
        import fields
        import judgement

        yield {"detest": detest, "fields": fields, "judgement": judgement}


@pytest.fixture(scope="module")
def cases(modules):
    return modules["detest"].CASES


def test_fields_of_detest_are_gradient_systems_of_their_potentials(cases):
    assert len(cases) == 8
    rng = np.random.default_rng(0)
    for case in cases:
        point = case.start + 0.1 * rng.standard_normal(case.start.shape)
        with jax.enable_x64(True):
            slope = jax.jit(jax.grad(case.potential))(point)
        np.testing.assert_allclose(case.velocity(point), -slope, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(case.jacobian(point), case.jacobian(point).T)


def test_jacobians_by_hand_are_derivatives_of_their_fields(cases, modules):
    valley = modules["fields"].valley_velocity, modules["fields"].valley_jacobian, np.array([0.7, -1.3])
    for velocity, jacobian, point in [valley, *((case.velocity, case.jacobian, 1.1 * case.start) for case in cases)]:
        columns = [(velocity(point + 1e-5 * e) - velocity(point - 1e-5 * e)) / 2e-5 for e in np.eye(point.size)]
        np.testing.assert_allclose(np.array(columns).T, jacobian(point), atol=1e-8 * np.abs(jacobian(point)).max())


def test_closed_forms_of_detest_start_right_and_follow_their_fields(cases):
    for case in cases:
        np.testing.assert_allclose(case.solution(0.0), case.start, rtol=1e-14, atol=1e-14)
        time, step = 0.01 * case.t1, 1e-5 * case.t1 / max(1.0, np.abs(case.jacobian(case.start)).max())
        speed = (case.solution(time + step) - case.solution(time - step)) / (2 * step)
        exact = case.velocity(case.solution(time))
        np.testing.assert_allclose(speed, exact, atol=1e-6 * np.abs(exact).max())


def _shapes(flat, shapes):
    ends = np.cumsum([rows * columns for rows, columns in shapes])
    return tuple(part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True))


def _agrees(velocity, problem, rng):
    shapes = problem.network.shapes
    point = rng.standard_normal(sum(rows * columns for rows, columns in shapes))
    slope = np.concatenate([np.ravel(layer) for layer in problem.gradient(_shapes(point, shapes))])
    np.testing.assert_allclose(velocity(point), -slope, rtol=1e-11, atol=1e-12 * np.abs(slope).max())


@pytest.mark.parametrize("widths", [(3, 2), (3, 2, 2), (1, 1, 1, 1)])
def test_linear_field_by_hand_is_the_flows(modules, widths):
    rng = np.random.default_rng(1)
    data = rng.standard_normal((widths[0], 7)), rng.standard_normal((widths[-1], 7))
    problem = gf.Regression(gf.networks.Linear(widths), *data, normalization="mean")
    statistics = problem.statistics
    velocity = modules["fields"].linear_velocity(
        tuple(problem.network.shapes), np.asarray(statistics.root), np.asarray(statistics.target)
    )
    _agrees(velocity, problem, rng)


@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_shallow_field_by_hand_is_the_flows(modules, activation):
    rng = np.random.default_rng(2)
    inputs, outputs = rng.standard_normal((3, 6)), rng.standard_normal((2, 6))
    problem = gf.Regression(gf.networks.Shallow((3, 4, 2), activation), inputs, outputs, normalization="mean")
    _agrees(modules["fields"].shallow_velocity(inputs, outputs, 4, activation), problem, rng)


@pytest.mark.parametrize("depth", [1, 2])
def test_residual_field_by_hand_is_the_flows(modules, depth):
    rng = np.random.default_rng(3)
    inputs, outputs = rng.standard_normal((2, 6)), rng.standard_normal((2, 6))
    problem = gf.Regression(gf.networks.Residual(2, 2, depth), inputs, outputs, normalization="mean")
    _agrees(modules["fields"].residual_velocity(inputs, outputs, 2, depth), problem, rng)


def test_valley_by_hand_is_the_model_problem(modules):
    problem, point = gf.model_problems.escaping_valley().problem, np.array([0.7, -1.3])
    np.testing.assert_allclose(modules["fields"].valley_velocity(point), -problem.gradient(point), rtol=1e-13)


@dataclass(frozen=True)
class Row:
    """A measured row as the verdicts read it."""

    method: str
    rtol: float
    error: float | None
    cpu: float | None
    is_own: bool = False
    note: str = ""
    remark: str = "Solver: reason"
    problem: str = "p"
    counts: dict = field(default_factory=dict)


def test_seconds_are_interpolated_between_logarithms_and_never_beyond_the_smallest_error(modules):
    judge = modules["judgement"]
    points = [(1e-2, 1.0), (1e-4, 100.0)]
    assert judge.seconds_at(points, 1e-3) == pytest.approx(10.0)
    assert judge.seconds_at(points, 1e-1) == 1.0
    assert judge.seconds_at(points, 1e-4) == pytest.approx(100.0)
    assert judge.seconds_at(points, 1e-5) is None
    assert judge.seconds_at([], 1.0) is None


def test_curve_leaves_out_what_is_dominated_and_what_failed(modules):
    rows = [Row("m", 1e-2, 1e-3, 2.0), Row("m", 1e-4, 1e-2, 5.0), Row("m", 1e-6, 1e-6, 9.0),
            Row("m", 1e-8, 1e-9, 1.0, note="stalled"), Row("m", 1e-9, None, None)]  # fmt: skip
    assert modules["judgement"].curve(rows) == [(1e-3, 2.0), (1e-6, 9.0)]


def test_verdict_compares_at_equal_error_and_says_what_the_same_tolerance_gives(modules):
    rows = [
        Row("auto", 1e-6, 1e-6, 1.0, is_own=True),
        Row("slow", 1e-6, 1e-8, 0.5), Row("slow", 1e-4, 1e-4, 0.05),
        Row("rough", 1e-6, 1e-5, 0.01),
    ]  # fmt: skip
    verdict = modules["judgement"].verdict(rows, "p", 1e-6, {"slow", "rough"})
    assert verdict.rival == "slow"
    assert verdict.ratio == pytest.approx(1.0 / np.sqrt(0.5 * 0.05))
    assert (verdict.same_rtol, verdict.ratio_at_rtol, verdict.error_ratio_at_rtol) == (
        "rough",
        100.0,
        pytest.approx(0.1),
    )
    alone = modules["judgement"].verdict(rows, "p", 1e-6, {"rough"})
    assert alone.ratio is None and alone.rival == ""
    assert modules["judgement"].verdict(rows[1:], "p", 1e-6, {"slow"}) is None


def test_groups_of_verdicts_hold_own_or_others_and_never_the_choice_itself(modules):
    rows = [Row("auto", 1e-4, 1e-4, 1.0, is_own=True), Row("named", 1e-4, 1e-4, 2.0, is_own=True),
            Row("diffrax-tsit5", 1e-4, 1e-4, 4.0), Row("other", 1e-4, 1e-4, 3.0)]  # fmt: skip
    ratios = {group: modules["judgement"].verdicts(rows, ["p"], group)[0].ratio
              for group in ("own", "peers", "diffrax-tsit5")}  # fmt: skip
    assert ratios == {"own": pytest.approx(1 / 2), "peers": pytest.approx(1 / 3), "diffrax-tsit5": pytest.approx(1 / 4)}
