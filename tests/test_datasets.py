"""Claims about data sets: orientation, preprocessing identities, synthetic data, and what files are refused."""

import dataclasses
import subprocess
import sys

import jax
import numpy as np
import pytest

from gradflow import checks, datasets
from gradflow.datasets import Dataset, from_arrays, from_file, load, teacher_student

SHAPES = {
    "digits": (64, 10, 1797),
    "iris": (4, 3, 150),
    "wine": (13, 3, 178),
    "diabetes": (10, 1, 442),
    "breast_cancer": (30, 2, 569),
}


def refused(match):
    return pytest.raises(checks.InputError, match=match)


def noted(match):
    return pytest.warns(checks.DataWarning, match=match)


@pytest.fixture
def small():
    generator = np.random.default_rng(0)
    return Dataset(generator.normal(3.0, 2.0, size=(4, 30)), generator.normal(size=(2, 30)))


# ---- the container


def test_a_dataset_is_read_only_double_precision_and_frozen(small):
    assert small.X.dtype == small.Y.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        small.X[0, 0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        small.name = "other"


def test_a_dataset_keeps_a_copy_of_the_callers_arrays():
    X = np.ones((1, 3))
    data = Dataset(X, [1.0, 2.0, 3.0])
    X[:] = 7.0
    assert np.array_equal(data.X, np.ones((1, 3)))


def test_a_target_vector_is_one_row():
    assert Dataset(np.eye(3), [1, 2, 3]).Y.shape == (1, 3)


def test_integers_and_booleans_are_promoted_in_silence():
    data = Dataset(np.eye(3, dtype=np.int8), np.array([True, False, True]))
    assert data.X.dtype == data.Y.dtype == np.float64


def test_counts_and_names_fit_the_arrays(small):
    assert (small.num_features, small.num_targets, small.num_samples) == (4, 2, 30)
    assert small.feature_names == ("x0", "x1", "x2", "x3")
    assert small.target_names == ("y0", "y1")


def test_the_representation_says_shapes_and_history(small):
    described = repr(datasets.center(small))
    assert described == "Dataset('data', regression, X (4, 30), Y (2, 30), center(inputs))"


def test_single_precision_is_promoted_and_said():
    with noted("`X` is float32 and was promoted to float64; its entries keep the precision they came with"):
        data = Dataset(np.eye(3, dtype=np.float32), np.ones(3))
    assert data.X.dtype == np.float64


def test_numbers_of_samples_that_differ_are_refused_with_both_shapes():
    with refused(r"`Y` must have as many samples \(columns\) as `X` of shape \(3, 5\), but got shape \(1, 4\)"):
        Dataset(np.ones((3, 5)), np.ones((1, 4)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_entries_that_are_not_finite_are_refused_with_row_and_column(bad):
    X = np.eye(3)
    X[1, 2] = bad
    with refused(f"`X` must be finite, but got {bad} at row 1, column 2"):
        Dataset(X, np.ones(3))


def test_text_is_refused_with_its_column():
    with refused(r"`X` must hold numbers, but got text or objects in column 1 \(first such entry: .*'b'"):
        Dataset(np.array([["1", "b"], ["2", "c"]]), np.ones(2))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_no_samples_or_no_features_are_refused(shape):
    with refused(r"`X` must hold at least one number, but got shape"):
        Dataset(np.empty(shape), np.ones(shape[1]))


@pytest.mark.parametrize("factor", [1e150, 1e-300])
def test_entries_whose_squares_leave_double_precision_are_refused(factor):
    with refused("`X` must have a largest entry between 1e-60 and 1e60.*Rescale"):
        Dataset(factor * np.eye(3), np.ones(3))


def test_a_vector_is_no_input_matrix():
    with refused(r"`X` must have 2 axes, but got shape \(3,\)"):
        Dataset(np.ones(3), np.ones(3))


def test_an_unknown_task_is_refused_with_the_nearest():
    with refused("`task` must be a known name, but got 'regresion'. Perhaps you meant 'regression'"):
        Dataset(np.eye(3), np.ones(3), task="regresion")


def test_names_of_the_wrong_number_are_refused():
    with refused("`feature_names` must have 3 entries, but got 2"):
        Dataset(np.eye(3), np.ones(3), feature_names=("a", "b"))


def test_an_autoencoder_with_other_targets_is_refused():
    with refused("`Y` must equal `X` for an autoencoder"):
        Dataset(np.eye(3), np.ones((3, 3)), task="autoencoder")


def test_rows_that_are_samples_are_transposed():
    X, Y = np.arange(6.0).reshape(3, 2), np.arange(3.0)
    data = from_arrays(X, Y)
    assert np.array_equal(data.X, X.T)
    assert np.array_equal(data.Y, Y[None, :])


def test_a_target_vector_and_a_target_column_mean_the_same():
    X, Y = np.arange(6.0).reshape(3, 2), np.arange(3.0)
    assert np.array_equal(from_arrays(X, Y).Y, from_arrays(X, Y[:, None]).Y)


def test_columns_that_are_samples_are_taken_as_they_are():
    X = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(from_arrays(X, np.ones(3), samples="columns").X, X)


def test_arrays_in_the_other_orientation_are_refused_with_the_remedy():
    with refused(r"as `X` of shape \(2, 5\), but got shape \(1, 5\). They fit along columns: pass samples='columns'"):
        from_arrays(np.ones((2, 5)), np.ones((1, 5)))


def test_a_bad_entry_of_a_target_vector_is_named_by_its_row():
    with refused("`Y` must be finite, but got nan at row 1, column 0"):
        from_arrays(np.ones((3, 2)), np.array([0.0, np.nan, 1.0]))


def test_notes_name_rank_constant_and_repeated_features_and_samples():
    row = np.arange(5.0)
    X = np.stack([row, row, np.ones(5), row**2])
    notes = Dataset(X[:, [0, 1, 2, 3, 4, 4]], np.ones(6), feature_names=("a", "b", "c", "d")).notes
    assert notes == (
        "rank(X) = 3 is less than d_in = 4: statements that assume full row rank do not apply",
        "constant features: c (drop_constant_features removes them)",
        "repeated features: b",
        "1 of 6 samples repeat another one exactly",
    )


def test_generic_data_has_no_notes(small):
    assert small.notes == ()


# ---- shipped data


@pytest.mark.parametrize("name", datasets.NAMES)
def test_shipped_data_have_samples_as_columns(name):
    d_in, d_out, num_samples = SHAPES[name]
    data = load(name)
    assert data.X.shape == (d_in, num_samples)
    assert data.Y.shape == (d_out, num_samples)


def test_loading_transposes_and_does_not_rescale():
    from sklearn.datasets import load_digits

    shipped = load_digits()
    data = load("digits", "regression")
    assert np.array_equal(data.X, shipped.data.T)
    assert np.array_equal(data.Y, shipped.target[None, :])
    assert data.transforms == ()


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer"])
def test_one_hot_columns_have_a_single_one_at_the_class(name):
    classes, numbers = load(name, "classification"), load(name, "regression")
    assert np.array_equal(classes.Y.sum(axis=0), np.ones(classes.num_samples))
    assert np.array_equal(np.arange(classes.num_targets) @ classes.Y, numbers.Y[0])


def test_class_names_are_in_the_order_of_the_rows():
    assert load("iris").target_names == ("setosa", "versicolor", "virginica")


@pytest.mark.parametrize("name", datasets.NAMES)
def test_autoencoder_targets_are_the_inputs(name):
    data = load(name, "autoencoder")
    assert np.array_equal(data.X, data.Y)
    assert data.target_names == data.feature_names


def test_an_unknown_data_set_is_refused_with_choices_and_the_nearest():
    with refused("`name` must be a known name, but got 'digit'. Perhaps you meant 'digits'. Choices: breast_cancer,"):
        load("digit")


def test_classification_of_a_real_target_is_refused():
    with refused('`task` must be "regression" or "autoencoder" for diabetes'):
        load("diabetes", "classification")


def test_importing_datasets_imports_neither_jax_nor_scikit_learn():
    code = "import sys, gradflow.datasets; print([m for m in ('jax', 'sklearn', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- preprocessing


def test_centred_rows_have_mean_zero(small):
    # the mean of 30 numbers below 10 carries a rounding error below 30 eps * 10
    assert np.abs(datasets.center(small).X.mean(axis=1)).max() < 1e-13


def test_centred_inputs_and_one_hot_targets_lose_a_rank():
    raw = load("wine")
    assert np.linalg.matrix_rank(raw.Y @ raw.X.T) == 3
    # the lost one is rounding, about 1e-15 of the largest
    assert np.linalg.matrix_rank(raw.Y @ datasets.standardize(raw).X.T, rtol=1e-12) == 2


def test_standardized_rows_have_mean_zero_and_deviation_one(small):
    X = datasets.standardize(small).X
    assert np.abs(X.mean(axis=1)).max() < 1e-13
    assert np.abs(X.std(axis=1) - 1).max() < 1e-13


def test_standardizing_a_constant_row_gives_zeros_and_says_so():
    data = Dataset(np.array([[0.1, 0.1, 0.1], [1.0, 2.0, 3.0]]), np.ones(3))
    with noted("Constant rows became zero rows: 0. datasets.drop_constant_features"):
        standardized = datasets.standardize(data)
    assert np.array_equal(standardized.X[0], np.zeros(3))


def test_scaling_gives_the_largest_singular_value_one(small):
    assert abs(np.linalg.norm(datasets.scale(small).X, 2) - 1) < 1e-14


def test_scaling_by_a_factor_multiplies(small):
    assert np.array_equal(datasets.scale(small, 0.25).X, 0.25 * small.X)


@pytest.mark.parametrize("step", [datasets.center, datasets.standardize, datasets.scale])
def test_a_step_changes_the_inputs_alone_unless_told(step, small):
    assert np.array_equal(step(small).Y, small.Y)
    assert np.array_equal(step(small, on="targets").X, small.X)
    both = step(small, on="both")
    assert np.array_equal(both.X, step(small).X)
    assert np.array_equal(both.Y, step(small, on="targets").Y)


@pytest.mark.parametrize("name", ["center", "standardize", "scale", "drop_constant_features"])
def test_targets_of_an_autoencoder_follow_its_inputs(name):
    data = datasets.preprocess(load("wine", "autoencoder"), [name])
    assert np.array_equal(data.X, data.Y)
    assert data.task == "autoencoder"


def test_an_autoencoder_refuses_to_change_one_side():
    with refused("`on` must be \"both\" for an autoencoder, whose targets are its inputs, but got 'inputs'"):
        datasets.center(load("iris", "autoencoder"), on="inputs")


def test_constant_features_are_dropped_with_their_names():
    data = datasets.drop_constant_features(load("digits"))
    assert data.X.shape == (61, 1797)
    assert (np.ptp(data.X, axis=1) > 0).all()
    assert set(load("digits").feature_names) - set(data.feature_names) == {"pixel_0_0", "pixel_4_0", "pixel_4_7"}


def test_data_whose_features_are_all_constant_are_refused():
    with refused("`data` must have a feature that varies over the samples"):
        datasets.drop_constant_features(Dataset(np.ones((2, 3)), np.arange(3.0)))


@pytest.mark.parametrize("name", ["iris", "wine", "diabetes", "breast_cancer"])
@pytest.mark.parametrize("reduce", [False, True])
def test_whitened_inputs_are_orthonormal_whatever_the_condition_number(name, reduce):
    X = datasets.whiten(load(name), reduce=reduce).X
    assert np.linalg.norm(X @ X.T - np.eye(len(X)), 2) < 1e-14 * len(X)


def test_symmetric_whitening_is_the_inverse_root_of_the_gram_matrix(small):
    values, vectors = np.linalg.eigh(small.X @ small.X.T)
    expected = vectors @ np.diag(values**-0.5) @ vectors.T @ small.X
    assert np.allclose(datasets.whiten(small).X, expected, rtol=0, atol=1e-12)


def test_whitening_twice_is_whitening_once(small):
    once = datasets.whiten(small)
    assert np.allclose(datasets.whiten(once).X, once.X, rtol=0, atol=1e-14)


def test_whitening_without_full_rank_gives_a_projector_and_says_so():
    with noted("X has 64 features but rank 61: X X.T is now a projector, not the identity. Use whiten"):
        X = datasets.whiten(load("digits")).X
    projector = X @ X.T
    assert np.linalg.norm(projector @ projector - projector, 2) < 1e-13
    assert abs(np.trace(projector) - 61) < 1e-12


def test_whitening_with_reduction_gives_the_identity_without_full_rank():
    data = datasets.whiten(load("digits"), reduce=True)
    assert data.X.shape == (61, 1797)
    assert data.feature_names[:2] == ("pc0", "pc1")
    assert np.linalg.norm(data.X @ data.X.T - np.eye(61), 2) < 1e-13


def test_a_whitened_autoencoder_is_a_regression_onto_its_old_inputs():
    data = load("iris", "autoencoder")
    whitened = datasets.whiten(data)
    assert whitened.task == "regression"
    assert np.array_equal(whitened.Y, data.X)


def test_whitening_zeros_is_refused():
    with refused("`X` must be nonzero to be whitened"):
        datasets.whiten(Dataset(np.zeros((2, 3)), np.ones(3)))


def test_scaling_zeros_to_norm_one_is_refused():
    with refused("`data` must have a nonzero entry to be scaled to norm 1"):
        datasets.scale(Dataset(np.zeros((2, 3)), np.ones(3)))


@pytest.mark.parametrize("factor", [0.0, -1.0])
def test_a_factor_that_is_not_positive_is_refused(factor, small):
    with refused("`factor` must be greater than 0"):
        datasets.scale(small, factor)


def test_steps_are_recorded_in_order():
    data = datasets.preprocess(load("digits"), ["drop_constant_features", "standardize", "whiten", "center_targets"])
    recorded = [str(step) for step in data.transforms]
    assert recorded == ["drop_constant_features(inputs)", "standardize(inputs)", "whiten(inputs)", "center(targets)"]


def test_an_unknown_step_is_refused_with_the_nearest(small):
    with refused("`preprocess` must be a known name, but got 'centre'. Perhaps you meant 'center'"):
        datasets.preprocess(small, ["centre"])


def test_one_step_needs_no_list(small):
    assert np.array_equal(datasets.preprocess(small, "center").X, datasets.center(small).X)


def test_an_unknown_side_is_refused(small):
    with refused("`on` must be a known name, but got 'X'"):
        datasets.center(small, on="X")


@pytest.mark.parametrize("name", sorted(datasets.STEPS))
def test_every_step_replayed_on_the_original_gives_the_same(name):
    raw = load("wine")
    data = datasets.preprocess(raw, [name])
    # whitening replays as a matrix product: rounding times the condition number of wine, about 1e4
    assert np.allclose(datasets.replay(data, raw.X), data.X, rtol=0, atol=1e-10)
    assert np.array_equal(datasets.replay(data, raw.Y, on="targets"), data.Y)


@pytest.mark.parametrize("name", sorted(datasets.STEPS))
def test_every_step_leaves_its_argument_alone(name, small):
    before = small.X.copy(), small.Y.copy()
    datasets.preprocess(small, [name])
    assert np.array_equal(small.X, before[0])
    assert np.array_equal(small.Y, before[1])
    assert small.transforms == ()


def test_held_out_columns_go_through_the_fitted_maps():
    raw = load("digits")
    train = datasets.preprocess(
        from_arrays(raw.X[:, ::2].T, raw.Y[:, ::2].T), ["drop_constant_features", "standardize"]
    )
    held_out = datasets.replay(train, raw.X[:, 1::2])
    kept = train.transforms[0].kept
    seen = raw.X[kept, ::2]
    expected = (raw.X[kept, 1::2] - seen.mean(axis=1, keepdims=True)) / seen.std(axis=1, keepdims=True)
    assert np.allclose(held_out, expected, rtol=1e-13, atol=1e-13)


def test_replaying_on_other_rows_is_refused(small):
    with refused(r"`values` must have 4 rows, as the data had before center\(inputs\), but got shape \(3, 2\)"):
        datasets.replay(datasets.center(small), np.ones((3, 2)))


# ---- teacher and student


@pytest.fixture(params=[False, True], ids=["x64_off", "x64_on"])
def x64(request):
    with jax.enable_x64(request.param):
        yield


def test_noiseless_targets_are_the_teachers_outputs(x64):
    data = teacher_student(0, (3, 3, 3), 20)
    first, second = data.teacher
    assert first.dtype == np.float64
    # products in another order agree up to rounding
    assert np.allclose(data.Y, (second @ first) @ data.X, rtol=0, atol=1e-13)


def test_synthetic_data_are_the_same_with_x64_on_and_off():
    draws = []
    for enabled in (False, True):
        with jax.enable_x64(enabled):
            draws.append(teacher_student(jax.random.key(3), (3, 3, 3), 20, noise=0.1))
    assert np.array_equal(draws[0].X, draws[1].X)
    assert np.array_equal(draws[0].Y, draws[1].Y)


def test_noise_changes_neither_inputs_nor_teacher_and_has_the_stated_deviation():
    clean, noisy = teacher_student(0, (3, 2), 5000), teacher_student(0, (3, 2), 5000, noise=0.3)
    assert np.array_equal(clean.X, noisy.X)
    assert np.array_equal(clean.teacher[0], noisy.teacher[0])
    # relative standard deviation of a mean square of n = 10^4 normal numbers: sqrt(2/n); six of it
    assert abs(np.mean((noisy.Y - clean.Y) ** 2) / 0.09 - 1) < 6 * np.sqrt(2e-4)


def test_inputs_teacher_and_noise_are_separate_draws():
    clean, noisy = teacher_student(0, (3, 3), 3), teacher_student(0, (3, 3), 3, noise=1.0)
    teacher, noise = np.sqrt(3) * clean.teacher[0], noisy.Y - clean.Y
    for first, second in ((clean.X, teacher), (clean.X, noise), (teacher, noise)):
        assert not np.isclose(first, second).any()


def test_a_narrow_teacher_makes_a_low_rank_target():
    data = teacher_student(0, (6, 2, 5), 40)
    assert np.linalg.matrix_rank(data.Y @ data.X.T) == 2


def test_the_teacher_grows_with_its_scale_per_layer():
    one, two = teacher_student(0, (3, 3, 3), 20), teacher_student(0, (3, 3, 3), 20, teacher_scale=2.0)
    assert np.allclose(two.Y, 4.0 * one.Y, rtol=1e-13, atol=0)


def test_whitened_inputs_have_the_identity_as_gram_matrix():
    X = teacher_student(0, (3, 3), 20, input_law="whitened").X
    assert np.linalg.norm(X @ X.T - np.eye(3), 2) < 1e-14


def test_gaussian_inputs_have_unit_variance():
    X = teacher_student(0, (3, 2), 5000).X
    # relative standard deviation of a mean square of n = 15 000 normal numbers: sqrt(2/n); six of it
    assert abs(np.mean(X**2) - 1) < 6 * np.sqrt(2 / 15_000)


def test_inputs_can_come_from_the_users_function():
    def corners(key, d_in, num_samples):
        return np.where(np.arange(d_in * num_samples).reshape(d_in, num_samples) % 2, 1.0, -1.0)

    data = teacher_student(0, (2, 1), 4, input_law=corners)
    assert np.array_equal(np.abs(data.X), np.ones((2, 4)))
    assert "corners inputs" in data.description


def test_preprocessing_drops_the_teacher():
    assert datasets.center(teacher_student(0, (2, 1), 4)).teacher is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"widths": (3,)}, "`widths` must have at least two entries"),
        ({"widths": (3, 0)}, r"`widths\[1\]` must be at least 1"),
        ({"num_samples": 0}, "`num_samples` must be at least 1, but got 0"),
        ({"noise": -0.1}, "`noise` must be at least 0"),
        ({"teacher_scale": 0.0}, "`teacher_scale` must be greater than 0"),
        ({"key": -1}, "`key` must be at least 0, but got -1"),
        ({"input_law": "gausian"}, "`input_law` must be a known name, but got 'gausian'. Perhaps you meant 'gaussian'"),
        ({"input_law": "whitened", "num_samples": 2}, "`num_samples` must be at least d_in = 3 for whitened inputs"),
        ({"input_law": lambda *_: np.ones((2, 2))}, r"`input_law` must return shape \(3, 5\), but got \(2, 2\)"),
    ],
)
def test_a_teacher_refuses_bad_arguments(changes, words):
    with refused(words):
        teacher_student(**{"key": 0, "widths": (3, 2), "num_samples": 5, **changes})


# ---- the user's .npz


@pytest.fixture
def write_npz(tmp_path):
    def write(**arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return path

    return write


ROWS = np.array([[1.0, 5.0], [2.0, 3.0], [4.0, 4.0]])


@pytest.mark.parametrize("Y", [np.array([1.0, 2.0, 5.0]), np.array([[1.0], [2.0], [5.0]])])
def test_an_npz_has_samples_in_rows_and_one_target_in_either_shape(write_npz, Y):
    data = from_file(write_npz(X=ROWS, Y=Y))
    assert np.array_equal(data.X, ROWS.T)
    assert np.array_equal(data.Y, [[1.0, 2.0, 5.0]])
    assert data.name == "data"


def test_an_npz_may_have_samples_in_columns_and_small_letters(write_npz):
    data = from_file(write_npz(x=ROWS.T, y=np.ones((2, 3))), samples="columns", name="mine")
    assert np.array_equal(data.X, ROWS.T)
    assert data.name == "mine"


def test_an_npz_of_labels_becomes_one_hot(write_npz):
    data = from_file(write_npz(X=ROWS, Y=np.array(["b", "a", "b"])), task="classification")
    assert np.array_equal(data.Y, [[0, 1, 0], [1, 0, 1]])
    assert data.target_names == ("a", "b")


def test_an_npz_of_labels_in_columns_becomes_one_hot(write_npz):
    data = from_file(write_npz(X=ROWS.T, Y=np.array([[2, 0, 2]])), task="classification", samples="columns")
    assert np.array_equal(data.Y, [[0, 1, 0], [1, 0, 1]])
    assert data.target_names == ("0", "2")


def test_an_autoencoder_needs_no_targets(write_npz):
    assert np.array_equal(from_file(write_npz(X=ROWS), task="autoencoder").Y, ROWS.T)


def test_single_precision_in_a_file_is_said(write_npz):
    with noted("`X` is float32 and was promoted"):
        from_file(write_npz(X=ROWS.astype(np.float32), Y=np.ones(3)))


def test_constant_features_in_a_file_are_noted(write_npz):
    with noted("data.npz: constant features: x1"):
        from_file(write_npz(X=np.array([[1.0, 1.0], [2.0, 1.0], [5.0, 1.0]]), Y=np.ones(3)))


@pytest.mark.parametrize(
    ("arrays", "arguments", "words"),
    [
        ({"X": ROWS}, {}, r"`data.npz` must hold the arrays X and Y, but got the arrays \['X'\]"),
        ({"X": ROWS, "Y": np.ones(2)}, {}, r"as `X` of shape \(3, 2\), but got shape \(2, 1\)"),
        ({"X": np.empty((0, 2)), "Y": np.empty(0)}, {}, r"`X` must hold at least one number, but got shape \(0, 2\)"),
        ({"X": np.array([["u"], ["v"]]), "Y": np.ones(2)}, {}, "`X` must hold numbers.*in column 0"),
        (
            {"X": np.array([[None], [1]]), "Y": np.ones(2)},
            {},
            "`data.npz` must hold arrays of numbers, but got objects",
        ),
        ({"X": ROWS, "Y": np.array([0, np.nan, 1])}, {}, "`Y` must be finite, but got nan at row 1, column 0"),
        ({"X": ROWS, "Y": np.ones(3)}, {"targets": 1}, "`targets` must be left out for a .npz"),
        ({"X": ROWS, "Y": np.ones(3)}, {"samples": "row"}, "`samples` must be a known name, but got 'row'"),
        (
            {"X": ROWS, "Y": np.ones(3)},
            {"task": "classification"},
            "`labels` must have at least two classes, but got 1",
        ),
        ({"X": ROWS, "Y": [0.5, 1, 2]}, {"task": "classification"}, "`labels` must be text or whole numbers.*got 0.5"),
        ({"X": ROWS, "Y": np.eye(3)}, {"task": "classification"}, "`Y` must be one column of class labels"),
    ],
)
def test_an_unusable_npz_is_refused(write_npz, arrays, arguments, words):
    with refused(words):
        from_file(write_npz(**arrays), **arguments)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no such data file: .*nowhere.csv"):
        from_file(tmp_path / "nowhere.csv")


def test_a_folder_is_said_to_be_one(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(IsADirectoryError, match="The data file is a folder"):
        from_file(tmp_path / "folder.csv")


def test_a_truncated_npz_is_an_error_of_the_file(write_npz):
    path = write_npz(X=ROWS, Y=np.ones(3))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(OSError, match=r"no \.npz archive, or is truncated"):
        from_file(path)


def test_a_damaged_npz_is_an_error_of_the_file(write_npz):
    path = write_npz(X=ROWS, Y=np.ones(3))
    content = bytearray(path.read_bytes())
    content[content.index(ROWS.tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"The data file is damaged .*CRC"):
        from_file(path)


def test_another_ending_is_refused(tmp_path):
    with refused("`path` must end in .npz or .csv, but got '.*data.xlsx'. Export a spreadsheet as .csv"):
        from_file(tmp_path / "data.xlsx")


# ---- the user's .csv


@pytest.fixture
def write_csv(tmp_path):
    def write(text):
        path = tmp_path / "data.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


TABLE = "age,bmi,score\n1,2.5,10\n3,0.1,20\n4,1e-3,35\n"


def test_a_csv_has_a_sample_in_each_line_and_the_target_last(write_csv):
    data = from_file(write_csv(TABLE))
    assert np.array_equal(data.X, [[1, 3, 4], [2.5, 0.1, 1e-3]])
    assert np.array_equal(data.Y, [[10, 20, 35]])
    assert data.feature_names == ("age", "bmi")
    assert data.target_names == ("score",)


def test_a_csv_needs_no_header(write_csv):
    data = from_file(write_csv(TABLE.split("\n", 1)[1]))
    assert np.array_equal(data.X, from_file(write_csv(TABLE)).X)
    assert data.feature_names == ("x0", "x1")


def test_a_header_of_numbers_has_to_be_announced(write_csv):
    data = from_file(write_csv("1990,1991\n1,2\n3,5\n"), header=True)
    assert data.feature_names == ("1990",)
    assert data.num_samples == 2


def test_a_first_line_with_a_label_among_numbers_is_data(write_csv):
    data = from_file(write_csv("1,2,yes\n3,5,no\n4,1,yes\n"), task="classification")
    assert data.num_samples == 3
    assert data.target_names == ("no", "yes")


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (2, ("bmi", "score")),
        ("age", ("age",)),
        (("score", "age"), ("score", "age")),
        ((0,), ("age",)),
        ((-1, 0), ("score", "age")),
    ],
)
def test_targets_are_the_last_columns_or_the_named_or_the_numbered(write_csv, targets, names):
    data = from_file(write_csv(TABLE), targets=targets)
    values = {"age": [1, 3, 4], "bmi": [2.5, 0.1, 1e-3], "score": [10, 20, 35]}
    assert data.target_names == names
    assert np.array_equal(data.Y, [values[name] for name in names])
    assert set(data.feature_names) == set(values) - set(names)


def test_numbers_are_read_exactly(write_csv):
    numbers = np.random.default_rng(0).normal(size=(50, 2)) * 10.0 ** np.arange(-25, 25)[:, None]
    data = from_file(write_csv("\n".join(f"{a!r},{b!r}" for a, b in numbers.tolist())))
    assert np.array_equal(np.concatenate([data.X, data.Y]), numbers.T)


def test_numeric_labels_are_sorted_as_numbers(write_csv):
    data = from_file(write_csv("1,10\n2,9\n3,10\n"), task="classification")
    assert data.target_names == ("9", "10")


def test_a_csv_autoencoder_uses_all_columns_but_those_set_aside(write_csv):
    assert from_file(write_csv(TABLE), task="autoencoder").num_features == 3
    data = from_file(write_csv("a,b,id\n1,2,x\n3,5,y\n2,2,z\n"), task="autoencoder", targets="id")
    assert data.feature_names == data.target_names == ("a", "b")


def test_byte_order_marks_blanks_semicolons_and_empty_lines_are_understood(write_csv):
    data = from_file(write_csv("\ufeffage ; score\n\n1; 2\n3 ;5\n   \n"), delimiter=";")
    assert data.feature_names == ("age",)
    assert np.array_equal(data.Y, [[2, 5]])


def test_an_unnamed_column_that_counts_the_rows_is_noted(write_csv):
    with noted("data.csv: column 0 has no name and counts the rows; it is read as a feature"):
        from_file(write_csv(",a,b\n0,5,1\n1,7,2\n2,6,4\n"))


@pytest.mark.parametrize("delimiter", ["\t", r"\t"])
def test_a_tab_may_be_given_as_a_shell_hands_it_over(write_csv, delimiter):
    data = from_file(write_csv("a\tb, c\n1\t2\n3\t5\n"), delimiter=delimiter)
    assert (data.feature_names, data.target_names) == (("a",), ("b, c",))


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("", {}, "`data.csv` must have at least one line, but got none"),
        ("a,b\n", {}, "`data.csv` must have at least one sample, but got a header only"),
        (
            "a,b,c\n1,x,3\n",
            {},
            r"`column 1 \('b'\) of data.csv` must hold .* got 'x' in line 2\. .* \(--task classification\)\.$",
        ),
        ("a,b\n1,2\n3,no\n", {}, r"`column 1 \('b'\) of data.csv` must hold numbers, but got 'no' in line 3"),
        ("1,x,3\n1,2,3\n", {}, "`column 1 .* got 'x' in line 1.* not read as names .* header=True does so"),
        ("1,x,3\n1,2,3\n", {"header": False}, r"`column 1 .* got 'x' in line 1\. .* \(--task classification\)\.$"),
        ('a,b\n\n"1\n",2\n\n3,no\n', {}, "got 'no' in line 6"),
        ("a,b\n1,2\n3,2024_01\n", {}, "must hold numbers, but got '2024_01'"),
        (
            "a,b,c\n1,2,3\n1,,3\n1,nan,3\n",
            {},
            r"`column 1 \('b'\) of data.csv` must be finite, but got nan in line 3. Remove or impute all 2",
        ),
        (
            "a,b\n1,2\n3,inf\n",
            {},
            r"`column 1 \('b'\) of data.csv` must be finite, but got inf in line 3. Remove or impute it.",
        ),
        ("a,b\n1,2\n3\n", {}, "`line 3 of data.csv` must have 2 entries like the first line, but got 1. An entry"),
        ("a\n1\n", {}, r"must have a column that is not a target, but got 1 column\(s\), 1 of them.*`delimiter`"),
        ("a;b\n1;2\n", {}, r"1 of them target\(s\)\. The first line looks like entries parted by ';': delimiter=';'"),
        ("a;b, c;d\n1;2;3\n", {}, r"`line 2 of data.csv` must have 2 .* got 1\. The first line .*--delimiter ';'\)\.$"),
        ("a\tb\n1\t2\n", {"targets": "b"}, r"`targets` must be a known name, but got 'b'\. .* delimiter='\\t'"),
        ("a b;c, d\n1;2\n", {"targets": "c", "delimiter": ";"}, r"but got 'c'\. .*Choices: 'a b', 'c, d'\.$"),
        (
            "a;b\n1,5;2\n",
            {"delimiter": ";"},
            r"must hold numbers, but got '1,5' in line 2\. Write decimals with a point",
        ),
        (TABLE, {"targets": "scor"}, "`targets` must be a known name, but got 'scor'. Perhaps you meant 'score'"),
        (TABLE, {"targets": (3,)}, "`targets` must be a column of data.csv, 0 to 2, but got 3"),
        (TABLE, {"targets": (-4,)}, "`targets` must be at least -3, but got -4"),
        (TABLE, {"targets": (0, -3)}, r"`targets` must name each column once, but got \(0, -3\)"),
        (TABLE, {"targets": ()}, "`targets` must name at least one column"),
        (
            TABLE,
            {"targets": 3},
            r"`data.csv` must have a column that is not a target, but got 3 column\(s\), 3 of them",
        ),
        (TABLE, {"targets": 0}, "`targets` must be at least 1, but got 0"),
        (
            "a,a,b\n1,2,3\n",
            {"targets": "a"},
            "`targets` must be the name of one column, but got 'a', that of 0 and 1. Say",
        ),
        (TABLE, {"samples": "columns"}, "`samples` must be \"rows\" for a .csv, but got 'columns'. Transpose"),
        (TABLE, {"delimiter": "::"}, "`delimiter` must be a single character, and .* '::'. For instance ';', or"),
        (TABLE, {"delimiter": '"'}, "`delimiter` must be a single character, and no quotation mark"),
        (TABLE, {"delimiter": 9}, "`delimiter` must be a single character, but got 9"),
        (TABLE, {"task": "classification", "targets": 2}, "`targets` must be the one column of class labels"),
        ("a,b\n1,u\n2,\n", {"task": "classification"}, "must have a label in each line, but got none in line 3"),
        ("a,b\n1,u\n2,u\n", {"task": "classification"}, "`labels` must have at least two classes"),
    ],
)
def test_an_unusable_csv_is_refused(write_csv, text, arguments, words):
    with refused(words):
        from_file(write_csv(text), **arguments)


def test_a_csv_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(b"a,b\n\xff\xfe,2\n")
    with refused("`data.csv` must be a table in UTF-8 text"):
        from_file(path)
