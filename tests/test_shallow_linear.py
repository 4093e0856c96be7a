import json
from pathlib import Path

import numpy as np
import pytest

from gradflow import Regression, checks, networks, regularizers
from gradflow.critical_sets import shallow_linear as shallow
from gradflow.critical_sets.shallow_linear import derivatives
from gradflow.critical_sets.shallow_linear.construction import arrays_of
from gradflow.verification.shallow_points import find_roots, orthogonal, quiet_regression, random_point

GOLDEN = {
    case["id"]: case
    for case in json.loads((Path(__file__).parent / "golden" / "papers_000_002.json").read_text())["cases"]
}
DIAGONAL = np.diag([3.0, 2.0, 1.0])


def golden(name):
    """Problem, inputs and expected values of a reference case."""
    case = GOLDEN[name]
    inputs, expected = case["inputs"], case["expected"]
    X, Y = np.array(inputs["X"]), np.array(inputs["Y"])
    d_hidden = inputs["d1"] if "d1" in inputs else len(inputs["A1"])
    return quiet_regression((len(X), d_hidden, len(Y)), X, Y), inputs, expected


def bases_from(problem, vectors, captured):
    """V_i such that the captured columns are the given eigenvectors, which fixes their signs."""
    spectrum = shallow.spectrum_of(problem)
    return [
        spectrum.left[:, list(group)].T @ vectors[:, [index for index in captured if index in group]]
        for group in spectrum.all_groups
    ]


def spectrum_signs(problem, params):
    """Numbers of negative, zero and positive eigenvalues of the Hessian."""
    values = np.linalg.eigvalsh(derivatives.hessian(params, *arrays_of(problem)))
    floor = 1e-9 * np.abs(values).max()
    return int(np.sum(values < -floor)), int(np.sum(np.abs(values) <= floor)), int(np.sum(values > floor))


def close(found, expected, rtol=1e-10):
    return np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-10)


# --- reference cases --------------------------------------------------------------------------------------------------


def test_reference_point_with_skipped_second_value():
    problem, inputs, expected = golden("G01")
    bases = bases_from(problem, np.array(expected["U"]), (0, 2))
    form = shallow.analytical_form(problem, (1, 0, 1), mixing=inputs["C"], bases=bases)
    params = shallow.construct(problem, (1, 0, 1), mixing=inputs["C"], bases=bases)
    close(shallow.spectrum_of(problem).sigma[:-1], expected["sigma"])
    close(params[0], expected["A1"])
    close(params[1], expected["A2"])
    close(params[1] @ params[0], expected["product_A2A1"])
    close(float(problem.loss(params)), expected["loss"])
    found = shallow.decompose(problem, params)
    assert (list(found.counts), found.num_zero) == (expected["p"], expected["pbar"])
    assert found.critical_class.category == expected["category"]
    assert found.critical_class.index == expected["morse_index_formula"]
    inertia = expected["hessian_inertia"]
    assert spectrum_signs(problem, params) == (inertia["neg"], inertia["zero"], inertia["pos"])
    assert found.critical_class.nullity == inertia["zero"]
    close(shallow.certificate_of_form(problem, form).bound, expected["certificate_2x2_bound"])
    close(np.linalg.eigvalsh(problem.hessian(params))[0], expected["hessian_min_eig"])


def test_reference_point_with_an_offset_and_rank_deficient_inputs():
    problem, inputs, expected = golden("G02")
    free = np.array(inputs["M"])
    bases = bases_from(problem, np.array(expected["A2"])[:, :1] / np.linalg.norm(np.array(expected["A2"])[:, 0]), (0,))
    settings = {"mixing": inputs["C"], "bases": bases, "free_top": free[:1], "free_bottom": free[1:]}
    form = shallow.analytical_form(problem, (1, 0), **settings)
    close(form.offset, expected["L1"])
    close(shallow.annihilator(shallow.spectrum_of(problem), form.capture), expected["N"])
    params = shallow.construct(problem, (1, 0), **settings)
    close(params[0], expected["A1"])
    close(params[1], expected["A2"])
    close(float(problem.loss(params)), expected["loss"])
    found = shallow.decompose(problem, params)
    assert found.is_critical and found.critical_class.category == expected["category"]
    inertia = expected["hessian_inertia"]
    assert spectrum_signs(problem, params) == (inertia["neg"], inertia["zero"], inertia["pos"])
    assert (found.critical_class.index, found.critical_class.nullity) == (inertia["neg"], inertia["zero"])


def test_reference_offset_that_violates_condition_three():
    problem, inputs, expected = golden("G02")
    raw = np.linalg.solve(np.array(inputs["C"]), np.array(inputs["M"]))
    form = shallow.analytical_form(problem, (1, 0), mixing=inputs["C"], offset=raw)
    spectrum = shallow.spectrum_of(problem)
    params = shallow.weights_of(spectrum, form)
    first, second = problem.gradient(params)
    assert np.linalg.norm(first) < 1e-13
    close(np.linalg.norm(second), expected["violating_gradA2_fro"])
    close(np.linalg.norm(shallow.condition_three(spectrum, form)), expected["violating_cond3_fro"])
    close(second, -shallow.condition_three(spectrum, form) @ np.linalg.inv(np.array(inputs["C"])).T)
    found = shallow.decompose(problem, params)
    assert found.kind == "not_critical" and found.form is None and found.condition_defect > 0.05


def test_reference_point_is_recognised():
    problem, inputs, expected = golden("G03")
    params = np.array(inputs["A1"]), np.array(inputs["A2"])
    found = shallow.decompose(problem, params)
    assert (list(found.counts), found.num_zero, found.rank) == (expected["p"], expected["pbar"], expected["rank_A2"])
    close((found.loss, found.class_loss), expected["loss"])
    assert found.critical_class.category == expected["category"]
    close(np.sort(np.linalg.eigvalsh(problem.hessian(params))), expected["hessian_eigs"])
    close(found.projector, np.diag([1.0, 0.0, 1.0]))


def test_reference_point_that_captures_the_null_space_only():
    problem, inputs, expected = golden("G05")
    params = np.array(inputs["A1"]), np.array(inputs["A2"])
    found = shallow.decompose(problem, params)
    assert (list(found.counts), found.num_zero) == (expected["p"], expected["pbar"])
    assert found.critical_class.category == expected["category_corrected"]
    assert shallow.enumerate(problem)[0].loss == pytest.approx(expected["global_min"], abs=1e-15)
    moved = shallow.rank_preserving_descent(problem, found.form, inputs["eps"])
    close(np.abs(moved.params[1]), expected["perturbed_A2"])
    close(moved.params[1] @ moved.params[0], np.array(expected["perturbed_A2"]) @ np.array(expected["perturbed_A1"]))
    close(float(problem.loss(moved.params)), expected["perturbed_loss"])
    close(-moved.change, expected["decrease"])
    close(shallow.strictness_certificate(problem, params).bound, expected["hessian_min_eig_exact"])


def test_the_papers_nonstrict_saddle_is_a_global_minimum():
    case = GOLDEN["G06"]["inputs"]
    problem = quiet_regression((1, 1, 1), np.array([[case["x"]]]), np.array([[case["y"]]]))
    params = np.array([[case["a1"]]]), np.array([[case["a2"]]])
    found = shallow.decompose(problem, params)
    assert found.critical_class.category == GOLDEN["G06"]["expected"]["category"]
    assert (found.counts, found.num_zero, found.critical_class.strict) == ((), 1, False)
    close(problem.hessian(params), GOLDEN["G06"]["expected"]["hessian"])
    for refused in (shallow.strictness_certificate, lambda *given: shallow.descent(*given, 0.1)):
        with pytest.raises(checks.InputError, match="global minimum"):
            refused(problem, params)


def test_reference_decrease_of_the_rank_preserving_descent():
    problem, inputs, _ = golden("G01")
    form = shallow.analytical_form(problem, (1, 0, 1), mixing=inputs["C"])
    start = problem.loss(shallow.weights_of(shallow.spectrum_of(problem), form))
    for row in GOLDEN["G08"]["expected"]["rows"]:
        moved = shallow.rank_preserving_descent(problem, form, row["eps"], missed=1, captured=2)
        assert moved.change == pytest.approx(row["delta_loss"], rel=1e-10, abs=1e-12)
        assert float(problem.loss(moved.params) - start) == pytest.approx(row["delta_loss"], rel=1e-10, abs=1e-12)


# --- enumeration ------------------------------------------------------------------------------------------------------

AUTOENCODER = {  # captured eigenvalues of diag(1, 2, 3, 4): trace minus what is captured, index, nullity
    (): (10, 8, 0), (1,): (9, 6, 3), (2,): (8, 5, 3), (3,): (7, 4, 3), (4,): (6, 3, 3), (1, 2): (7, 4, 4),
    (1, 3): (6, 3, 4), (1, 4): (5, 2, 4), (2, 3): (5, 2, 4), (2, 4): (4, 1, 4), (3, 4): (3, 0, 4),
}  # fmt: skip


def autoencoder(eigenvalues, d_hidden):
    X = np.diag(np.sqrt(eigenvalues))
    return Regression(networks.Linear((len(X), d_hidden, len(X))), X, X)


def test_linear_autoencoder_table():
    classes = shallow.enumerate(autoencoder([1.0, 2.0, 3.0, 4.0], 2))
    found = {}
    for member in classes:
        captured = tuple(sorted(4 - i for i, count in enumerate(member.pattern["counts"]) if count))
        found[captured] = (round(2 * member.loss, 12), member.index, member.nullity)
    assert found == AUTOENCODER


def test_autoencoder_indices_are_those_of_the_hessian():
    problem = autoencoder([1.0, 2.0, 3.0, 4.0], 2)
    for member in shallow.enumerate(problem):
        signs = spectrum_signs(problem, shallow.sample(problem, member, 3))
        assert signs[:2] == (member.index, member.nullity)


def test_sixteen_eigenvalues_and_width_four_give_2517_classes():
    problem = autoencoder(np.arange(1.0, 17.0), 4)
    assert shallow.count_classes(problem) == len(list(shallow.iterate_classes(problem))) == 2517


def test_repeated_values_and_a_null_space_are_counted_by_number():
    problem = quiet_regression((3, 3, 4), np.eye(3), np.diag([2.0, 2.0, 1.0, 0.0])[:, :3])
    patterns = {(member.pattern["counts"], member.pattern["num_zero"]) for member in shallow.enumerate(problem)}
    expected = {((a, b), z) for a in range(3) for b in range(2) for z in range(2) if a + b + z <= 3}
    assert patterns == expected and shallow.count_classes(problem) == len(expected)


def test_too_many_classes_are_counted_but_not_listed():
    problem = autoencoder(np.arange(1.0, 61.0), 30)
    assert shallow.count_classes(problem) > 10**17
    assert next(shallow.iterate_classes(problem)).index == 30 * 60
    with pytest.raises(checks.InputError, match="max_classes"):
        shallow.enumerate(problem)


def test_global_points_with_and_without_a_captured_null_space():
    problem = quiet_regression((2, 2, 2), np.eye(2), np.diag([1.0, 0.0]))
    category = {
        (member.pattern["counts"], member.pattern["num_zero"]): member.category for member in shallow.enumerate(problem)
    }
    assert category[(1,), 0] == category[(1,), 1] == "global"
    assert category[(0,), 0] == "optimal" and category[(0,), 1] == "non-optimal"


def test_nullity_varies_with_the_free_rows_where_the_null_space_is_missed():
    problem = quiet_regression((3, 2, 3), np.eye(3), np.diag([1.0, 0.0, 0.0]))
    member = shallow.critical_class(problem, (1,))
    assert member.nullity is None
    low, high = shallow.nullity_range(problem, (1,))
    plain = shallow.construct(problem, (1,))
    generic = shallow.construct(problem, (1,), free_bottom=np.array([[0.3, 1.0, -2.0]]))
    assert spectrum_signs(problem, plain)[1] == shallow.nullity(problem, plain, (1,)) == high
    assert spectrum_signs(problem, generic)[1] == shallow.nullity(problem, generic, (1,)) == low < high
    assert spectrum_signs(problem, plain)[0] == spectrum_signs(problem, generic)[0] == member.index


# --- construction and recognition -------------------------------------------------------------------------------------


@pytest.mark.parametrize("widths", [(3, 2, 2), (2, 4, 3), (1, 1, 1)])
def test_derivatives_are_those_of_the_problem(widths):
    rng = np.random.default_rng(4)
    problem = quiet_regression(widths, rng.normal(size=(widths[0], 5)), rng.normal(size=(widths[-1], 5)))
    params = tuple(rng.normal(size=shape) for shape in problem.network.shapes)
    for found, expected in zip(
        derivatives.gradient(params, *arrays_of(problem)), problem.gradient(params), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    hessian = derivatives.hessian(params, *arrays_of(problem))
    np.testing.assert_allclose(hessian, problem.hessian(params), rtol=1e-12, atol=1e-12)


def test_random_points_are_recognised_and_rebuilt():
    rng = np.random.default_rng(11)
    for _ in range(60):
        point = random_point(rng)
        found = shallow.decompose(point.problem, point.params)
        assert (found.kind, found.counts, found.num_zero) == ("critical", point.counts, point.num_zero)
        assert found.gradient_defect < 1e-13 and found.integrality_defect < 1e-12 and found.condition_defect < 1e-12
        assert abs(found.loss - found.class_loss) < 1e-12 * (1 + found.loss)
        for rebuilt, given in zip(shallow.weights_of(point.spectrum, found.form), point.params, strict=True):
            np.testing.assert_allclose(rebuilt, given, rtol=1e-12, atol=1e-12 * (1e-3 + np.abs(given).max()))


@pytest.mark.parametrize("normalization", ["sum", "mean"])
def test_samples_are_not_needed(normalization):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(3, 9)), rng.normal(size=(2, 9))
    problem = quiet_regression((3, 2, 2), X, Y, normalization=normalization).compact()
    params = shallow.construct(problem, (0, 1), free_top=rng.normal(size=(1, 3)), free_bottom=rng.normal(size=(1, 3)))
    assert max(np.abs(part).max() for part in problem.gradient(params)) < 1e-13
    direct = 0.5 * np.sum((params[1] @ params[0] @ X - Y) ** 2) / (9 if normalization == "mean" else 1)
    assert shallow.critical_class(problem, (0, 1)).loss == pytest.approx(direct, rel=1e-12)


def test_any_basis_of_a_group_may_be_captured():
    problem = quiet_regression((3, 1, 3), np.eye(3), np.diag([2.0, 2.0, 1.0]))
    for angle in (0.0, 0.4, 2.0):
        params = shallow.construct(problem, (1, 0), bases=[[[np.cos(angle)], [np.sin(angle)]], np.zeros((1, 0))])
        found = shallow.decompose(problem, params)
        assert found.counts == (1, 0) and found.critical_class.is_global
        assert found.loss == pytest.approx(2.5)


def test_targets_orthogonal_to_the_inputs_leave_only_the_null_space():
    problem = quiet_regression((2, 2, 2), np.array([[1.0, 2.0, 0.3], [0.5, 1.0, 0.15]]), np.array([[2.0, -1, 0]] * 2))
    assert [member.pattern for member in shallow.enumerate(problem)] == [
        {"counts": (), "num_zero": number} for number in range(3)
    ]
    assert all(member.is_global for member in shallow.enumerate(problem))


def test_random_weights_are_not_critical():
    rng = np.random.default_rng(7)
    problem = quiet_regression((3, 2, 3), np.eye(3), DIAGONAL)
    found = shallow.decompose(problem, tuple(rng.normal(size=shape) for shape in problem.network.shapes))
    assert found.kind == "not_critical" and found.critical_class is None and found.form is None
    assert found.gradient_defect > 1e-2 and found.distance > 1e-2


@pytest.mark.parametrize(("size", "kind"), [(1e-12, "critical"), (1e-8, "critical"), (1e-3, "not_critical")])
def test_recognition_allows_for_the_tolerance_and_no_more(size, kind):
    rng = np.random.default_rng(3)
    problem = quiet_regression((3, 2, 3), np.eye(3), DIAGONAL)
    params = shallow.construct(problem, (1, 0, 1), mixing=orthogonal(rng, 2))
    moved = tuple(layer + size * rng.normal(size=layer.shape) for layer in params)
    assert shallow.decompose(problem, moved).kind == kind


def test_a_tiny_layer_that_no_higher_rank_explains_is_zero():
    problem = quiet_regression((2, 1, 2), np.eye(2), np.diag([2.0, 1.0]))
    found = shallow.decompose(problem, (np.zeros((1, 2)), np.array([[4e-12], [1e-12]])))
    assert found.kind == "critical" and (found.rank, found.counts) == (0, (0, 0))


@pytest.mark.parametrize(("size", "kind", "ranks"), [(1e-12, "ambiguous", (0, 1)), (1e-9, "ambiguous", (0, 1)),
                                                     (1e-7, "critical", (1,))])  # fmt: skip
def test_a_tiny_captured_null_direction_is_ambiguous(size, kind, ranks):
    """A_2 = size e_2 with A_1 = 0 is critical for every size, of rank 1; but rank 0 is as near."""
    problem = quiet_regression((2, 1, 2), np.eye(2), np.diag([1.0, 0.0]))
    found = shallow.decompose(problem, (np.zeros((1, 2)), np.array([[0.0], [size]])))
    assert (found.kind, found.candidate_ranks) == (kind, ranks)
    assert (found.critical_class is None) == (kind == "ambiguous")


def test_rank_of_a_second_layer_between_noise_and_clear_is_ambiguous():
    spectrum = shallow.spectrum_of(quiet_regression((3, 2, 3), np.eye(3), DIAGONAL))
    layer = np.diag([1.0, 5e-9, 0.0])[:, :2]
    assert shallow.recover_pattern(layer, spectrum).is_ambiguous
    assert not shallow.recover_pattern(layer, spectrum, tolerance=1e-12).is_ambiguous


def test_weights_of_a_badly_scaled_gauge_are_recognised():
    problem = quiet_regression((3, 2, 3), np.eye(3), DIAGONAL)
    params = shallow.construct(problem, (1, 1, 0), mixing=np.diag([1e-4, 1e4]))
    found = shallow.decompose(problem, params)
    assert found.is_critical and found.counts == (1, 1, 0)


def test_found_roots_fall_into_the_classes_and_meet_them_all():
    problem = quiet_regression((2, 1, 2), np.eye(2), np.diag([2.0, 1.0]))
    found = [point for _, point in find_roots(np.random.default_rng(1), problem, 80)]
    zeros = [point for point in found if point.gradient_defect < 1e-12]
    decided = [point for point in zeros if point.kind != "ambiguous"]
    assert {point.kind for point in decided} == {"critical"}
    assert {point.counts for point in decided} == {member.pattern["counts"] for member in shallow.enumerate(problem)}
    assert all(abs(point.loss - point.class_loss) < 1e-9 for point in decided)
    assert len(found) - len(zeros) <= 4, "starts that did not converge"
    assert len(zeros) - len(decided) <= 4, "zeros of the gradient with an ambiguous rank"


def test_samples_belong_to_their_class_and_depend_on_the_key_alone():
    problem = quiet_regression((3, 3, 4), np.eye(3), np.diag([2.0, 2.0, 1.0, 0.0])[:, :3])
    for member in shallow.enumerate(problem):
        params = shallow.sample(problem, member, 5)
        found = shallow.decompose(problem, params)
        assert found.critical_class == member
        assert all(np.array_equal(a, b) for a, b in zip(params, shallow.sample(problem, member, 5), strict=True))
    assert not np.array_equal(params[0], shallow.sample(problem, member, 6)[0])


# --- wrong calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"counts": (1, 0)}, "one per group"),
        ({"counts": (2, 0, 0)}, "multiplicities"),
        ({"counts": (1, 1, 1)}, "d_1 = 2"),
        ({"counts": (1, 0, 0), "num_zero": 1}, "null space"),
        ({"counts": (1, 0, 0), "mixing": np.ones((2, 2))}, "invertible"),
        ({"counts": (1, 0, 0), "mixing": np.eye(3)}, "shape"),
        ({"counts": (1, 0, 0), "free_top": np.ones((2, 3))}, "shape"),
        ({"counts": (1, 0, 0), "bases": [[[2.0]], np.zeros((1, 0)), np.zeros((1, 0))]}, "orthonormal"),
    ],
)
def test_wrong_patterns_and_matrices_are_refused(settings, message):
    problem = quiet_regression((3, 2, 3), np.eye(3), DIAGONAL)
    with pytest.raises(checks.InputError, match=message):
        shallow.construct(problem, **settings)


@pytest.mark.parametrize(
    "problem",
    [
        Regression(networks.Linear((2, 2, 2, 2)), np.eye(2), np.diag([2.0, 1.0])),
        Regression(networks.Linear((2, 2)), np.eye(2), np.diag([2.0, 1.0])),
        Regression(
            networks.Linear((2, 2, 2)), np.eye(2), np.diag([2.0, 1.0]), regularizer=regularizers.WeightDecay(1e-2)
        ),
    ],
    ids=["two hidden layers", "no hidden layer", "regularised"],
)
def test_other_problems_are_refused(problem):
    with pytest.raises(checks.InputError, match="`problem` must"):
        shallow.enumerate(problem)
    with pytest.raises(checks.InputError, match="`problem` must"):
        shallow.construct(problem, (1, 0))


def test_weights_of_other_shapes_and_classes_of_other_data_are_refused():
    problem = quiet_regression((3, 2, 3), np.eye(3), DIAGONAL)
    with pytest.raises(checks.InputError, match="shapes"):
        shallow.decompose(problem, (np.eye(3), np.eye(3)))
    other = shallow.enumerate(quiet_regression((2, 2, 2), np.eye(2), np.diag([2.0, 1.0])))[0]
    with pytest.raises(checks.InputError, match="one per group"):
        shallow.sample(problem, other, 0)
    with pytest.raises(checks.InputError, match="multiplicities"):
        shallow.critical_class(problem, (1, 2, 0))
