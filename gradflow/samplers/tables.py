"""Starts that are not drawn, whatever the key: a given table, and the cells of a plane through parameter space."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.samplers.blocks import checked_indices, words_of_key
from gradflow.samplers.sampler import AbstractSampler
from gradflow.samplers.templates import Template, resolved
from gradflow.types import Params

Range = tuple[float, float]


class Given(AbstractSampler):
    """The user's own starts.

    Args:
        starts: a pytree like the parameters, every leaf with a leading axis "sample"; for parameters that are one
            array, an array ``(num, ...)``. Entries that are not finite are kept: what becomes of such a start is an
            outcome, not a wrong call.

    Fractions over given starts are those of a finite set; intervals around them mean something only when the starts
    were drawn independently from one law.

    Raises:
        InputError: text, complex numbers, no start, or leaves of different lengths; later an index beyond the last.
    """

    values: Params

    def __init__(self, starts: Any):
        leaves, structure = jax.tree.flatten(starts)
        checks.require(len(leaves) > 0, "starts", "have at least one array", "an empty pytree")
        arrays = [np.asarray(leaf) for leaf in leaves]
        for index, array in enumerate(arrays):
            name = "starts" if len(arrays) == 1 else f"starts[{index}]"
            checks.require(array.dtype.kind in "biuf", name, "hold real numbers", f"dtype {array.dtype}")
            checks.require(array.ndim > 0, name, "have a leading axis, the number of the start", "a single number")
            checks.require(
                len(array) == len(arrays[0]), name, f"have {len(arrays[0])} starts, as the first array", len(array)
            )
        checks.require(arrays[0].size > 0, "starts", "hold at least one start", f"shape {arrays[0].shape}")
        self.values = jax.tree.unflatten(structure, [np.array(array, dtype=np.float64) for array in arrays])

    @property
    def size(self) -> int:
        """Number of given starts."""
        return len(jax.tree.leaves(self.values)[0])

    def starts(self, key: Any, indices: Any) -> Params:
        """Rows of the table; the key is checked and then ignored."""
        words_of_key(key)
        chosen = checked_indices(indices, self.size)
        return jax.tree.map(lambda leaf: leaf[chosen], self.values)


class Slice(AbstractSampler):
    """A plane through parameter space as a grid of cells, for pictures of basins.

    ``theta(x, y) = origin + x directions[0] + y directions[1]``; start i is the centre of cell ``(row, column) =
    divmod(i, num_columns)``, rows along y and columns along x, so that ``labels.reshape(slice.shape)`` is what
    ``imshow(..., origin="lower", extent=slice.extent)`` draws.

    Args:
        origin: a number, an array or pytree like the parameters, or a flat vector.
        directions: two of the same, linearly independent, used as they are; by default the axes of two parameters.
        ranges: ``((x_low, x_high), (y_low, y_high))``, the outer edges of the grid.
        resolution: cells along x and y, or one number for both. An even number keeps the centres off the
            symmetry lines x = 0 and y = 0 of symmetric ranges.
        like: what the parameters look like, where all else is numbers.

    A slice of more than two parameters has measure zero: fractions of its area are not basin fractions.

    Raises:
        InputError: directions that are not two independent ones, ranges that do not increase.

    Example:
        >>> grid = Slice(0.0, ranges=((-2.0, 2.0), (-1.0, 1.0)), resolution=(4, 2), like=2)
        >>> grid.starts(0, [0, 1, 4])
        array([[-1.5, -0.5],
               [-0.5, -0.5],
               [-1.5,  0.5]])
    """

    origin: Float[np.ndarray, " n"]
    directions: Float[np.ndarray, "2 n"]
    ranges: tuple[Range, Range] = eqx.field(static=True)
    shape: tuple[int, int] = eqx.field(static=True)
    template: Template = eqx.field(static=True)

    def __init__(
        self,
        origin: Any,
        directions: Any = None,
        ranges: tuple[Range, Range] = ((-1.0, 1.0), (-1.0, 1.0)),
        resolution: int | tuple[int, int] = 256,
        like: Any = None,
    ):
        pair = _pair_of("directions", directions)
        self.template = resolved(like, origin=origin, **{f"directions[{k}]": entry for k, entry in enumerate(pair)})
        self.origin = self.template.spread("origin", origin)
        if directions is None:
            num_params = self.template.num_params
            remedy = "Pass directions=(u, v), or use Slice.through(a, b, c)."
            checks.require(num_params == 2, "directions", f"be given for {num_params} parameters", None, remedy)
            self.directions = np.eye(2)
        else:
            self.directions = np.stack(
                [self.template.spread(f"directions[{k}]", entry) for k, entry in enumerate(pair)]
            )
        singular = np.linalg.svd(_unit_rows(self.directions), compute_uv=False)
        checks.require(
            singular[-1] > 1e-8, "directions", "be linearly independent", f"relative distance {singular[-1]:.1e}"
        )
        self.ranges = (_range("ranges[0]", ranges[0]), _range("ranges[1]", ranges[1]))
        self.shape = _shape(resolution)

    @classmethod
    def through(
        cls, first: Any, second: Any, third: Any, *, margin: float = 0.25, resolution: int = 256, like: Any = None
    ) -> "Slice":
        """The plane through three points, in Euclidean coordinates: distances in the picture are those of parameters.

        The first point lies at (0, 0), the second at (distance, 0), the third above. The ranges are those of the three
        points, widened by `margin` times the longer side, and the cells are squares: `resolution` of them along the
        longer side.

        Raises:
            InputError: points on a line.
        """
        template = resolved(like, first=first, second=second, third=third)
        origin, along, across = (
            template.spread(name, point) for name, point in (("first", first), ("second", second), ("third", third))
        )
        along, across = along - origin, across - origin
        length = float(np.linalg.norm(along))
        checks.require(length > 0, "second", "differ from the first point", "the same point")
        unit = along / length
        shift = float(across @ unit)
        rest = across - shift * unit
        height = float(np.linalg.norm(rest - (rest @ unit) * unit))
        checks.require(
            height > 1e-8 * length, "third", "lie off the line through the other two", f"height {height:.1e}"
        )
        normal = (rest - (rest @ unit) * unit) / height
        lows, highs = np.array([min(0.0, shift), 0.0]), np.array([max(length, shift), height])
        widths = highs - lows
        extra = checks.real("margin", margin, at_least=0.0) * float(widths.max())
        lows, highs = lows - extra, highs + extra
        cells = checks.integer("resolution", resolution)
        side = float((highs - lows).max()) / cells
        counts = np.maximum(1, np.round((highs - lows) / side)).astype(int)
        middle = (lows + highs) / 2
        lows, highs = middle - side * counts / 2, middle + side * counts / 2
        ranges = (float(lows[0]), float(highs[0])), (float(lows[1]), float(highs[1]))
        example = template.unflattened(origin)
        return cls(origin, (unit, normal), ranges, (int(counts[0]), int(counts[1])), like=example)

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.shape[0] * self.shape[1]

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge, as ``imshow`` wants them."""
        return (*self.ranges[0], *self.ranges[1])

    @property
    def axis_labels(self) -> tuple[str, str]:
        """Labels of the axes x and y."""
        is_plain = self.template.num_params == 2 and np.array_equal(self.directions, np.eye(2))
        if is_plain and not self.origin.any():
            return r"$\theta_1$ (dimensionless)", r"$\theta_2$ (dimensionless)"
        norms = np.linalg.norm(self.directions, axis=1)
        unit = ", distance" if np.allclose(norms, 1.0, rtol=1e-9) else ""
        return f"$x$ in the slice{unit} (dimensionless)", f"$y$ in the slice{unit} (dimensionless)"

    def coordinates(self, indices: Any = None) -> Float[np.ndarray, "num 2"]:
        """Coordinates (x, y) of the centres of these cells, or of all."""
        cells = np.arange(self.size) if indices is None else checked_indices(indices, self.size)
        rows, columns = np.divmod(cells, self.shape[1])
        counts = ((columns, self.shape[1]), (rows, self.shape[0]))
        return np.stack(
            [
                low + (high - low) * (index + 0.5) / count
                for (low, high), (index, count) in zip(self.ranges, counts, strict=True)
            ],
            axis=1,
        )

    def starts(self, key: Any, indices: Any) -> Params:
        """The parameters at the centres of these cells; the key is checked and then ignored."""
        words_of_key(key)
        x, y = self.coordinates(indices).T[:, :, None]
        vectors = self.origin + x * self.directions[0] + y * self.directions[1]
        return jax.tree.map(np.ascontiguousarray, self.template.unflattened(vectors))

    def projected(self, params: Any) -> tuple[Float[np.ndarray, "2"], float]:
        """Coordinates (x, y) of the point of the plane nearest to `params`, and the distance between the two."""
        shifted = self.template.spread("params", params) - self.origin
        coordinates = np.linalg.lstsq(self.directions.T, shifted, rcond=None)[0]
        return coordinates, float(np.linalg.norm(shifted - coordinates @ self.directions))


def _pair_of(name: str, directions: Any) -> tuple[Any, ...]:
    if directions is None:
        return ()
    is_pair = isinstance(directions, tuple | list | np.ndarray) and len(directions) == 2
    checks.require(is_pair, name, "be two directions", repr(directions)[:80])
    return tuple(directions)


def _unit_rows(directions: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(directions, axis=1, keepdims=True)
    checks.require(bool((norms > 0).all()), "directions", "differ from zero", "a zero direction")
    return directions / norms


def _range(name: str, value: Any) -> Range:
    checks.require(np.shape(value) == (2,), name, "be two numbers (low, high)", repr(value))
    low, high = (checks.real(f"{name}[{index}]", limit) for index, limit in enumerate(value))
    checks.require(low < high, name, "increase", (low, high))
    return low, high


def _shape(resolution: Any) -> tuple[int, int]:
    entries = resolution if isinstance(resolution, tuple | list) else (resolution, resolution)
    checks.require(len(entries) == 2, "resolution", "be one number or two (along x, along y)", repr(resolution))
    along_x, along_y = (checks.integer("resolution", entry) for entry in entries)
    return along_y, along_x
