"""Statements of paper 002 on networks with one hidden layer, each with its check.

Tolerances: constructed points have gradients of about 1e-15 relative, and 1e-10 leaves room for the condition number of
C; eigenvalues below 1e-8 of the largest count as zero, the others are about 1e-3 of it or more.
"""

from collections.abc import Iterator

import numpy as np

from gradflow.critical_sets import shallow_linear as shallow
from gradflow.critical_sets.classes import CriticalClass
from gradflow.critical_sets.shallow_linear import derivatives
from gradflow.critical_sets.shallow_linear.construction import arrays_of
from gradflow.critical_sets.shallow_linear.derivatives import Layers
from gradflow.critical_sets.shallow_linear.recognition import TOLERANCE
from gradflow.problem import Regression
from gradflow.verification.shallow_points import Point, find_roots, quiet_regression, random_point, random_problem
from gradflow.verification.statement import Statement, Trial

ROUNDING = 1e-10
"""Largest relative error of an identity: some hundred thousand units of rounding."""

EIGENVALUE_FLOOR = 1e-8
"""Curvatures below this multiple of the Hessian's norm count as zero."""

CONVERGED = 1e-14
"""Relative gradient of a found zero; its distance from the critical set is up to the cube root, where layers vanish."""

PACKAGE = "gradflow.critical_sets.shallow_linear"


def _loss(point: Point, params: Layers) -> float:
    root, target = arrays_of(point.problem)
    return 0.5 * float(np.sum((params[1] @ params[0] @ root - target) ** 2)) + point.problem.irreducible


def _energy(point: Point) -> float:
    """``1/2 ||Y||^2``, the unit in which losses are compared."""
    return 0.5 * float(np.sum(arrays_of(point.problem)[1] ** 2)) + point.problem.irreducible + 1e-3


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected)) / max(1.0, float(np.linalg.norm(expected)))


# --- Theorem 1 --------------------------------------------------------------------------------------------------------


def _check_sufficiency(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        point = random_point(rng)
        found = shallow.decompose(point.problem, point.params)
        yield Trial(found.gradient_defect, ROUNDING, point.described)
        recovered = (found.kind, found.counts, found.num_zero)
        yield Trial.agreement(recovered, ("critical", point.counts, point.num_zero))
        yield Trial(_relative(found.projector, point.form.capture.projector), ROUNDING, point.described)


def _check_necessity(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    """Starts that do not converge, and zeros too near several ranks to tell, are counted, not dropped."""
    stalled = ambiguous = 0
    problem = random_problem(rng, (3, 2, 3))
    for index in range(num_instances):
        problem = random_problem(rng, (3, 2, 3)) if index % 10 == 0 else problem
        for params, found in find_roots(rng, problem, 1):
            if found.gradient_defect > CONVERGED:
                stalled += 1
                continue
            allowed = 10.0 * max(found.gradient_defect, 1e-18) ** (1 / 3)
            yield Trial(found.distance, allowed, "distance of a zero of the gradient from the form (1)-(3)")
            yield Trial(abs(found.loss - found.class_loss), ROUNDING * (1.0 + found.loss), "Proposition 1 at it")
            ambiguous += found.kind != "critical"
            if found.form is not None:
                back = shallow.weights_of(shallow.spectrum_of(problem), found.form)
                error = max(_relative(new, old) for new, old in zip(back, params, strict=True))
                yield Trial(error, TOLERANCE, "weights rebuilt from C, V and L_1 = A_1")
    yield Trial(stalled / num_instances, 0.2, f"{stalled} of {num_instances} starts did not converge")
    yield Trial(ambiguous / num_instances, 0.2, f"{ambiguous} of {num_instances} zeros of ambiguous rank")


def _check_round_trip(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        point = random_point(rng)
        form = shallow.decompose(point.problem, point.params).form
        if form is None:
            yield Trial.agreement("no form", "a form", point.described)
            continue
        back = shallow.weights_of(point.spectrum, form)
        error = max(_relative(new, old) for new, old in zip(back, point.params, strict=True))
        yield Trial(error, 1e-12, point.described)


def _check_condition_three(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        point = random_point(rng)
        offset = rng.normal(size=point.form.offset.shape)
        form = shallow.AnalyticalForm(point.form.capture, point.form.mixing, offset)
        first, second = derivatives.gradient(shallow.weights_of(point.spectrum, form), *arrays_of(point.problem))
        missing = shallow.condition_three(point.spectrum, form) @ np.linalg.inv(form.mixing).T
        yield Trial(float(np.linalg.norm(first)), ROUNDING * _energy(point), "grad_{A_1} = 0 for any L_1")
        yield Trial(float(np.linalg.norm(second + missing)), ROUNDING * (1.0 + _energy(point)), point.described)


def _check_lemma_1(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        point = random_point(rng)
        spectrum = point.spectrum
        second_moment = spectrum.regression @ spectrum.cross.T
        left = np.linalg.svd(point.params[1])[0][:, : point.form.capture.rank]
        projector = left @ left.T
        image = second_moment @ projector
        scale = 1.0 + float(np.linalg.norm(second_moment))
        yield Trial(float(np.linalg.norm(projector @ image - image)) / scale, ROUNDING, point.described)
        yield Trial(float(np.linalg.norm(image - image.T)) / scale, ROUNDING, point.described)


def _check_inner_inverse(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        point = random_point(rng)
        rank, second = point.form.capture.rank, point.params[1]
        inverse = np.linalg.inv(point.form.mixing)[:, :rank] @ point.form.capture.directions.T
        yield Trial(_relative(second @ inverse, point.form.capture.projector), ROUNDING, "A_2 G = P")
        yield Trial(_relative(inverse @ second @ inverse, inverse), ROUNDING, "G A_2 G = G")


def _printed_pseudoinverse() -> Trial:
    problem = quiet_regression((2, 2, 2), np.eye(2), np.diag([2.0, 1.0]))
    form = shallow.analytical_form(problem, (1, 0), mixing=np.array([[1.0, 0.0], [1.0, 1.0]]))
    second = shallow.weights_of(shallow.spectrum_of(problem), form)[1]
    claimed = np.linalg.inv(form.mixing)[:, :1] @ form.capture.directions.T
    return Trial(float(np.linalg.norm(np.linalg.pinv(second) - claimed)), ROUNDING, "C = [[1, 0], [1, 1]]")


# --- Propositions 1 and 2, categories ---------------------------------------------------------------------------------


def _check_loss(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        point = random_point(rng)
        error = abs(_loss(point, point.params) - point.critical_class.loss) / _energy(point)
        yield Trial(error, ROUNDING, point.described)


def _check_global(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    """The pattern test against the loss itself: Eckart-Young gives the minimum without any class."""
    for _ in range(num_instances):
        point = random_point(rng)
        values = np.linalg.svd(arrays_of(point.problem)[1], compute_uv=False)
        limit = min(rows for rows, _ in point.problem.network.shapes)
        minimum = point.problem.irreducible + 0.5 * float(np.sum(values[limit:] ** 2))
        is_minimal = _loss(point, point.params) - minimum <= ROUNDING * _energy(point)
        yield Trial.agreement(point.critical_class.is_global, is_minimal, point.described)


def _check_categories(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    """Every class of a problem: the categories against their definition, which is written out again here."""
    for _ in range(num_instances):
        problem = random_problem(rng)
        classes = shallow.enumerate(problem)
        yield Trial.agreement(len(classes), shallow.count_classes(problem), "number of classes")
        spectrum = shallow.spectrum_of(problem)
        sizes = (*spectrum.multiplicities, spectrum.num_zero)
        for member in classes:
            counts = (*member.pattern["counts"], member.pattern["num_zero"])
            expected = _category_by_definition(problem, sizes, counts, member.loss == classes[0].loss)
            yield Trial.agreement(member.category, expected, f"{counts} of {sizes}")


def _category_by_definition(
    problem: Regression, sizes: tuple[int, ...], counts: tuple[int, ...], has_least_loss: bool
) -> str:
    """Global by its loss; non-optimal by a pair of groups; optimal by its greedy pattern; "none" if nothing fits."""
    last = len(sizes) - 1
    if has_least_loss:
        return "global"
    if any(counts[i] < sizes[i] and counts[j] > 0 for i in range(last) for j in range(i + 1, last + 1)):
        return "non-optimal"
    incomplete = [i for i in range(last) if counts[i] < sizes[i]]
    is_greedy = counts[last] == 0 and not any(counts[i] for i in range(incomplete[0] + 1, last))
    return "optimal" if is_greedy and sum(counts) < min(rows for rows, _ in problem.network.shapes) else "none"


def _printed_categories() -> Trial:
    """X = I, Y = diag(1, 0), d_1 = 1, A_2 = (0, 1)^T, A_1 = 0: critical, in neither of the printed categories."""
    problem = quiet_regression((2, 1, 2), np.eye(2), np.diag([1.0, 0.0]))
    point = shallow.decompose(problem, (np.zeros((1, 2)), np.array([[0.0], [1.0]])))
    counts, sizes = point.counts, (1,)
    pairs = [(i, j) for i in range(len(sizes)) for j in range(i + 1, len(sizes))]
    is_non_optimal = any(counts[i] < sizes[i] and counts[j] > 0 for i, j in pairs)
    is_optimal = point.rank < min(rows for rows, _ in problem.network.shapes)
    return Trial.agreement(is_non_optimal or is_optimal, True, "captures the null space only")


# --- Proposition 3, Theorem 2 -----------------------------------------------------------------------------------------


def _is_not_global(member: CriticalClass) -> bool:
    return not member.is_global


def _misses_with_free_row(point: Point) -> bool:
    missed = point.spectrum.num_positive - sum(point.counts)
    return missed > 0 and point.form.capture.rank < point.form.mixing.shape[0]


def _check_item_1(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        point = random_point(rng, lambda member: member.category == "non-optimal")
        eps = float(rng.uniform(0.01, 1.0))
        moved = shallow.rank_preserving_descent(point.problem, point.form, eps)
        yield _exactness(point, moved)
        rank = int(np.linalg.matrix_rank(moved.params[1], tol=1e-9))
        yield Trial.agreement(rank, point.form.capture.rank, "rank of A_2")


def _printed_item_1() -> Trial:
    """The decrease without the factor 1/2, on diag(3, 2, 1) with 3 and 1 captured."""
    problem = quiet_regression((3, 2, 3), np.eye(3), np.diag([3.0, 2.0, 1.0]))
    form = shallow.analytical_form(problem, (1, 0, 1))
    eps = 0.1
    moved = shallow.rank_preserving_descent(problem, form, eps, missed=1, captured=2)
    start = shallow.weights_of(shallow.spectrum_of(problem), form)
    decrease = float(problem.loss(start) - problem.loss(moved.params))
    return Trial(abs(decrease - eps**2 / (1.0 + eps**2) * (4.0 - 1.0)), ROUNDING, "sigma_2 = 4, sigma_3 = 1")


def _check_item_2(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        point = random_point(rng, _is_not_global)
        while not _misses_with_free_row(point):
            point = random_point(rng, _is_not_global)
        eps1, eps2 = (float(eps) for eps in rng.uniform(0.01, 1.0, size=2))
        yield _exactness(point, shallow.rank_increasing_descent(point.problem, point.form, eps1, eps2))
        best = shallow.best_second_step(point.problem, point.form, eps1)
        moved = [shallow.rank_increasing_descent(point.problem, point.form, eps1, t * best) for t in (0.9, 1.0, 1.1)]
        yield _exactness(point, moved[1])
        yield Trial(moved[1].change, min(moved[0].change, moved[2].change, 0.0), "the best eps2")


def _printed_item_2() -> Trial:
    """sigma_k, of the last captured group, in place of that of the added vector: diag(2, 1), 2 captured whole."""
    problem = quiet_regression((2, 2, 2), np.eye(2), np.diag([2.0, 1.0]))
    form = shallow.analytical_form(problem, (1, 0))
    eps1, eps2 = 0.1, 0.01
    moved = shallow.rank_increasing_descent(problem, form, eps1, eps2)
    change = float(problem.loss(moved.params) - problem.loss(shallow.weights_of(shallow.spectrum_of(problem), form)))
    return Trial(abs(change - (0.5 * eps1**2 * eps2**2 - eps1 * eps2) * 4.0), ROUNDING, "sigma_k = 4, sigma_q = 1")


def _check_item_3(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    """Half of the points are critical, half are not."""
    for index in range(num_instances):
        point = random_point(rng, lambda member: bool(member.rank))
        first, second = point.params
        params = point.params if index % 2 else (rng.normal(size=first.shape), rng.normal(size=second.shape))
        moved = shallow.ascent(point.problem, params, 0.1)
        change = _loss(point, moved.params) - _loss(point, params)
        yield Trial(-change, -1e-12 * _energy(point), "the loss rises")
        yield Trial(abs(change - moved.change), ROUNDING * (_energy(point) + change), point.described)


def _check_theorem_2(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        point = random_point(rng, _is_not_global)
        lowered, raised = (move(point.problem, point.params, 0.05) for move in (shallow.descent, shallow.ascent))
        yield from (_exactness(point, moved) for moved in (lowered, raised))
        yield Trial.agreement((lowered.change < 0.0, raised.change > 0.0), (True, True), point.described)


def _check_strictness(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        point = random_point(rng, _is_not_global)
        certificate = shallow.strictness_certificate(point.problem, point.params)
        hessian = derivatives.hessian(point.params, *arrays_of(point.problem))
        direction = np.concatenate([part.ravel() for part in certificate.direction])
        size = float(np.linalg.norm(hessian, 2))
        yield Trial(certificate.bound, -EIGENVALUE_FLOOR * size, "the bound is negative")
        yield Trial(abs(direction @ hessian @ direction - certificate.bound), ROUNDING * size, "attained")
        yield Trial(float(np.linalg.eigvalsh(hessian)[0]) - certificate.bound, ROUNDING * size, point.described)


def _printed_strictness() -> Trial:
    """The example x = 2, y = 0, (a_1, a_2) = (0, 1): the paper's non-strict saddle."""
    problem = quiet_regression((1, 1, 1), np.array([[2.0]]), np.array([[0.0]]))
    point = shallow.decompose(problem, (np.zeros((1, 1)), np.ones((1, 1))))
    return Trial.agreement(point.critical_class is not None and not point.critical_class.is_global, True, "a saddle")


def _check_index(rng: np.random.Generator, num_instances: int) -> Iterator[Trial]:
    for _ in range(num_instances):
        point = random_point(rng)
        eigenvalues = point.eigenvalues
        found = int(np.sum(eigenvalues < 0)), int(np.sum(eigenvalues == 0.0))
        zeros = shallow.nullity(point.problem, point.params, point.counts, point.num_zero)
        yield Trial.agreement((point.critical_class.index, zeros), found, f"{point.described}: {found}")
        yield Trial.agreement(point.critical_class.strict, found[0] > 0, point.described)
        low, high = shallow.nullity_range(point.problem, point.counts, point.num_zero)
        yield Trial.agreement(low <= found[1] <= high, True, f"{point.described}: {found[1]} in {low}..{high}")


def _exactness(point: Point, moved: shallow.Perturbation) -> Trial:
    change = _loss(point, moved.params) - _loss(point, point.params)
    return Trial(abs(change - moved.change) / (_energy(point) + abs(change)), ROUNDING, point.described)


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        "002", "Lemma 1",
        "At a critical point P Sigma P = Sigma P = P Sigma, with P the projector on the column space of A_2.",
        (f"{PACKAGE}.recover_pattern",), _check_lemma_1, quick=100, thorough=1500,
    ),
    Statement(
        "002", "Theorem 1 (sufficiency)",
        "Weights of the form (1)-(2) with any L_1 of (3) are critical, and their pattern and P are recovered.",
        (f"{PACKAGE}.construct", f"{PACKAGE}.admissible_offset"), _check_sufficiency, quick=100, thorough=2000,
    ),
    Statement(
        "002", "Theorem 1 (necessity)",
        "Zeros of the gradient found by least squares have the form (1)-(3) and the loss of their class.",
        (f"{PACKAGE}.decompose",), _check_necessity, quick=15, thorough=300,
    ),
    Statement(
        "002", "Theorem 1 (inverse)",
        "V, C and L_1 = A_1 are read off a critical point, and rebuild it to 1e-12.",
        (f"{PACKAGE}.decompose", f"{PACKAGE}.weights_of"), _check_round_trip, quick=100, thorough=1500,
    ),
    Statement(
        "002", "Theorem 1 (proof)",
        "G = C^{-1} V^T U^T satisfies A_2 G = P and G A_2 G = G, which is all that formula (1) needs.",
        (f"{PACKAGE}.weights_of",), _check_inner_inverse, quick=100, thorough=1500,
        correction="The proof takes G for the pseudoinverse of A_2, which it is only if the row spaces of C_top and "
        "C_bot are orthogonal.",
        as_printed=_printed_pseudoinverse,
    ),
    Statement(
        "002", "eq. (3)",
        "For any L_1 the weights (1)-(2) have grad_{A_1} = 0 and grad_{A_2} = -[matrix of (3)] C^{-T}.",
        (f"{PACKAGE}.condition_three",), _check_condition_three, quick=100, thorough=2000,
    ),
    Statement(
        "002", "Proposition 1",
        "At a critical point the loss is 1/2 (Tr Y Y^T - sum p_i sigma_i).",
        (f"{PACKAGE}.critical_class",), _check_loss, quick=100, thorough=2000,
    ),
    Statement(
        "002", "Proposition 2",
        "A critical point is a global minimum exactly when it captures the largest min(d_1, d_2, N) positive values.",
        (f"{PACKAGE}.critical_class",), _check_global, quick=100, thorough=2000,
        correction="Its last sentence, 'A_1 can be non-full rank with rank(A_2) = ...', means A_2.",
    ),
    Statement(
        "002", "Categories after Proposition 2",
        "With the null space as group r+1, every critical point is global, of non-optimal or of optimal order.",
        (f"{PACKAGE}.enumerate",), _check_categories, quick=20, thorough=400,
        correction="As printed (positive groups only) they leave out points that capture the null space while "
        "missing a positive value, and the optimal pattern also fits global minima.",
        as_printed=_printed_categories,
    ),
    Statement(
        "002", "Proposition 3, item 1",
        "Turning a captured vector to a missed one of larger sigma, or from the null space, keeps the rank of A_2 and "
        "lowers the loss by exactly 1/2 eps^2/(1+eps^2) (sigma_i - sigma_j).",
        (f"{PACKAGE}.rank_preserving_descent",), _check_item_1, quick=50, thorough=1000,
        correction="The printed decrease has no factor 1/2, and the null space is not admitted as sigma_j = 0.",
        as_printed=_printed_item_1,
    ),
    Statement(
        "002", "Proposition 3, item 2",
        "The rank-increasing perturbation changes the loss by 1/2 eps2^2 a + (1/2 eps1^2 eps2^2 - eps1 eps2) sigma_q; "
        "least at eps2 = eps1 sigma_q / (a + eps1^2 sigma_q), wherever a positive value is missed and k < d_1.",
        (f"{PACKAGE}.rank_increasing_descent", f"{PACKAGE}.best_second_step"), _check_item_2, quick=50, thorough=800,
        correction="The proof has sigma_k, of the last captured group; it is that of the added vector (position q).",
        as_printed=_printed_item_2,
    ),
    Statement(
        "002", "Proposition 3, item 3",
        "At any point with A_2 A_1 X != 0, critical or not, scaling a row of A_2 raises the loss.",
        (f"{PACKAGE}.ascent",), _check_item_3, quick=50, thorough=1000,
    ),
    Statement(
        "002", "Theorem 2",
        "Every non-global critical point has a descent and an ascent direction, so it is a saddle.",
        (f"{PACKAGE}.descent", f"{PACKAGE}.ascent"), _check_theorem_2, quick=50, thorough=1000,
        correction="The restriction to A_2 A_1 X != 0 in item 2 is unnecessary.",
    ),
    Statement(
        "002", "Remark after Theorem 2",
        "Every non-global critical point is a strict saddle: a 2x2 form gives a direction of negative curvature.",
        (f"{PACKAGE}.strictness_certificate",), _check_strictness, quick=50, thorough=1200,
        correction="'The saddle points can be non-strict': the example has loss 0 and is a global minimum.",
        as_printed=_printed_strictness,
    ),
    Statement(
        "002", "Theorem 2 (Morse index)",
        "Not in the paper. The index is #{(i missed, j captured): sigma_i > sigma_j} + (d_1 - k) #{i missed positive}, "
        "and the nullity follows from rank(A_1 X); proved in the code's documentation, here against eigenvalues.",
        (f"{PACKAGE}.critical_class", f"{PACKAGE}.nullity"), _check_index, quick=100, thorough=2000,
    ),
)  # fmt: skip
