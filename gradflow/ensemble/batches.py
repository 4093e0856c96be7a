"""Many trajectories of one flow at once: each start to its end, by lanes of adaptive steps.

:func:`integrate_ensemble` is :func:`gradflow.integrate` for batches, without rows, looks and switches of solver: Tsit5
with the step capped at the stability limit, each start by itself. An end says why it ended and what its gradient was;
what is at it is for :mod:`gradflow.naming` to say. :class:`Ensemble` is the same with the flow compiled once. Stiff
flows may name a solver of their own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import diffrax
import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Int

from gradflow import checks
from gradflow.ensemble import orders
from gradflow.ensemble.kernels import make_kernel, make_solver_kernel
from gradflow.flow import AbstractFlow
from gradflow.precision import as_params, in_double, on_device, require_concrete
from gradflow.solvers.flat import FlatFlow, Layout
from gradflow.status import Status
from gradflow.types import Params

DEFAULT_RTOL, DEFAULT_ATOL, DEFAULT_MAX_STEPS = 1e-6, 1e-9, 100_000

STABILITY_LIMIT = 2.8
"""Steps are at most this over the spectral radius; the real stability interval of Tsit5 ends at 3.5."""

SMALLEST_RTOL = 1e-13

STATUSES = {
    orders.STATIONARY: Status.STATIONARY,
    orders.HORIZON: Status.HORIZON,
    orders.ESCAPED: Status.ESCAPED,
    orders.NONFINITE: Status.NONFINITE,
    orders.STEP_LIMIT: Status.STEP_LIMIT,
    orders.STALLED: Status.STALLED,
}
"""What the codes of ends mean."""


@dataclass(frozen=True, eq=False)
class Ends:
    """How trajectories ended, one row each.

    Attributes:
        states: parameters as rows, flattened row-major in acting order.
        codes: why each ended, see :data:`STATUSES` and :mod:`gradflow.ensemble.orders`.
        times: flow times.
        grad_norms: gradient norms.
        steps: the sizes of the steps that would have come next.
        num_steps: attempted steps.
        num_rejected: those of them that were rejected.
    """

    states: Float[np.ndarray, "num n"]
    codes: Int[np.ndarray, " num"]
    times: Float[np.ndarray, " num"]
    grad_norms: Float[np.ndarray, " num"]
    steps: Float[np.ndarray, " num"]
    num_steps: Int[np.ndarray, " num"]
    num_rejected: Int[np.ndarray, " num"]

    def __len__(self) -> int:
        return len(self.codes)

    def at(self, rows: np.ndarray) -> "Ends":
        """Some of the rows."""
        return Ends(*(getattr(self, field.name)[rows] for field in fields(self)))

    def put(self, rows: np.ndarray, later: "Ends") -> "Ends":
        """These ends with some rows followed further: steps add up, all else is the later one's."""
        columns = {field.name: getattr(self, field.name).copy() for field in fields(self)}
        for name, column in columns.items():
            new = getattr(later, name)
            column[rows] = column[rows] + new if name.startswith("num_") else new
        return Ends(**columns)


@dataclass(frozen=True, eq=False)
class EnsembleResult:
    """A batch of trajectories' ends.

    Attributes:
        endpoints: a pytree like one state's, every leaf with the leading axis "sample".
        ends: the same as rows, with times, gradient norms and counts of steps.
        kernel: what computed them, "native" or "xla", and why not the other.
    """

    endpoints: Params
    ends: Ends
    kernel: str

    @property
    def statuses(self) -> np.ndarray:
        """The :class:`gradflow.Status` of each trajectory, an array of objects."""
        table = np.array([None, *(STATUSES[code] for code in sorted(STATUSES))], dtype=object)
        return table[self.ends.codes]

    @property
    def times(self) -> Float[np.ndarray, " num"]:
        """Flow times at which the trajectories ended."""
        return self.ends.times

    @property
    def grad_norms(self) -> Float[np.ndarray, " num"]:
        """Gradient norms at the ends."""
        return self.ends.grad_norms

    @property
    def num_steps(self) -> Int[np.ndarray, " num"]:
        """Attempted steps."""
        return self.ends.num_steps


class Ensemble:
    """A flow compiled for batches of starts that look like `like`.

    Args:
        flow: any flow.
        like: one start, for the shapes of the parameters.
        kernel: "native" (LLVM, several times the speed of any other on a CPU), "xla" (any device, any function that JAX
            can trace), or "auto": native where the default device is a CPU and it knows all operations of the field.
        width: trajectories in a vector, for experiments; the default depends on the number of parameters only.
        solver: "tsit5", or a solver that is stable at every step (name or diffrax solver), which goes to XLA's lanes.
        rtol: the tolerance that a solver's own iterations serve.
    """

    def __init__(
        self, flow: AbstractFlow, like: Params, kernel: str = "auto", width: int | None = None,
        solver: str | diffrax.AbstractSolver = "tsit5", rtol: float = DEFAULT_RTOL,
    ) -> None:  # fmt: skip
        checks.require(
            isinstance(flow, AbstractFlow), "flow", "be a flow", type(flow).__name__, "Use GradientFlow(...)."
        )
        with jax.enable_x64(True):
            example = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf)), like)
            flat, unravel = ravel_pytree(example)
            compact = flow.compact()
            field: Callable[[Any], Any] = lambda vector: ravel_pytree(compact.vector_field(unravel(vector)))[0]  # noqa: E731
            _check_field(compact, example)
            if isinstance(solver, str) and solver == "tsit5":
                self.kernel, self.kernel_name = make_kernel(field, flat.size, kernel, width)
            else:
                checks.require(solver != "auto", "solver", "be one solver for all lanes", "'auto'")
                flat_flow = on_device(FlatFlow(compact, Layout.of(example)))
                made = make_solver_kernel(flat_flow, flat.size, solver, rtol, kernel, width)
                self.kernel, self.kernel_name = made
        self.flow, self.size = flow, int(flat.size)
        self.structure: Any = jax.tree.structure(example)
        self.shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(example))

    def flatten(self, batch: Params, name: str = "starts") -> Float[np.ndarray, "num n"]:
        """A batch of states, leading axis the sample, as rows.

        Raises:
            InputError: another structure or other shapes than one state has.
        """
        leaves, structure = jax.tree.flatten(batch)
        arrays = [np.asarray(leaf, dtype=np.float64) for leaf in leaves]
        fits = bool(structure == self.structure) and tuple(a.shape[1:] for a in arrays) == self.shapes
        fits = fits and len({a.shape[0] for a in arrays}) == 1
        checks.require(
            fits, name, f"have leaves of shapes (samples, ...) with {self.shapes}", [np.shape(leaf) for leaf in leaves]
        )
        return np.concatenate([a.reshape(len(a), -1) for a in arrays], axis=1)

    def unflatten(self, states: Float[np.ndarray, "num n"]) -> Params:
        """The batch of states whose rows these are."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])[:-1]
        parts = np.split(states, ends, axis=1)
        return jax.tree.unflatten(
            self.structure, [p.reshape(len(states), *shape) for p, shape in zip(parts, self.shapes, strict=True)]
        )

    def run(
        self,
        states: Float[np.ndarray, "num n"],
        told: Float[np.ndarray, "num orders"],
        shared: Float[np.ndarray, " settings"],
    ) -> Ends:
        """Each row followed until one of its orders (:mod:`gradflow.ensemble.orders`) or the shared settings end it."""
        if len(states) == 0:
            none, nothing = np.zeros(0), np.zeros(0, np.int64)
            return Ends(np.zeros((0, self.size)), nothing, none, none, none, nothing, nothing)
        ends, facts = self.kernel(states, told, shared)
        column = dict(zip(orders.FACTS, facts.T, strict=True))
        whole = lambda name: column[name].astype(np.int64)  # noqa: E731
        return Ends(ends, whole("code"), column["time"], column["grad_norm"], column["step"],
                    whole("num_steps"), whole("num_rejected"))  # fmt: skip


def shared_settings(
    rtol: float, atol: float, max_norm: float, max_steps: int, limit: float = STABILITY_LIMIT
) -> Float[np.ndarray, " settings"]:
    """What all starts share, checked, as a kernel takes it.

    Raises:
        InputError: a tolerance that is not positive, or smaller than double precision can keep.
    """
    rtol = checks.real("rtol", rtol, above=0.0, below=1.0)
    checks.require(
        rtol >= SMALLEST_RTOL, "rtol", f"be at least {SMALLEST_RTOL:g}, which double precision can keep", rtol
    )
    atol = checks.real("atol", atol, above=0.0)
    max_norm = checks.real("max_norm", max_norm, above=0.0, infinite=True)
    return np.array([rtol, atol, limit, min(max_norm, 1e150), checks.integer("max_steps", max_steps)], dtype=float)


def plain_orders(num: int, quiet: float, t1: float) -> Float[np.ndarray, "num orders"]:
    """From time 0 to `t1`, until the gradient norm is below `quiet`."""
    return np.tile([0.0, min(t1, 1e150), np.inf, quiet, np.inf, 0.0], (num, 1))


@in_double
def integrate_ensemble(
    flow: AbstractFlow,
    starts: Params,
    t1: float = math.inf,
    *,
    rtol: float = DEFAULT_RTOL,
    atol: float | None = None,
    grad_tol: float | None = None,
    max_norm: float = math.inf,
    max_steps: int = DEFAULT_MAX_STEPS,
    kernel: str = "auto",
    width: int | None = None,
    solver: str | diffrax.AbstractSolver = "tsit5",
) -> EnsembleResult:
    """The ends of many trajectories of one flow.

    A trajectory ends when ``||grad L|| <= grad_tol``, at the horizon `t1`, or as its :class:`~gradflow.Status` says;
    "stationary" says no more than that: the point may be a saddle in passing, or far from the limit along a flat
    valley. Runs that do not end are never an exception, and never hold the others up.

    Args:
        flow: any flow.
        starts: a pytree like one state's, every leaf with a leading axis "sample".
        t1: horizon, flow time.
        rtol, atol: local error per step, per component; `atol` is ``1e-3 rtol`` when not given.
        grad_tol: gradient norm, absolute; default 1e-6 times the problem's large gradient, where that is not known
            times the median gradient norm of the starts.
        max_norm: norm beyond which a trajectory has escaped.
        max_steps: attempted steps of one trajectory.
        kernel, width, solver: see :class:`Ensemble`. Stiff flows, whose explicit steps are legion, want "rodas5p".

    Accuracy: local errors are kept below `rtol`; an end is the same to the last bit whichever starts are in the batch
        (native kernel).

    Raises:
        InputError: starts that are not finite or do not fit each other, `t1` not positive, tolerances out of range.
    """
    require_concrete("integrate_ensemble", starts)
    leaves = jax.tree.leaves(starts)
    checks.require(len(leaves) > 0, "starts", "have at least one array", "an empty pytree")
    checks.require(
        all(np.ndim(leaf) > 0 and len(leaf) > 0 for leaf in leaves), "starts", "hold at least one start",
        [np.shape(leaf) for leaf in leaves],
    )  # fmt: skip
    starts = jax.tree.map(np.asarray, as_params(starts, rtol, name="starts"))
    t1 = checks.real("t1", t1, above=0.0, infinite=True)
    shared = shared_settings(rtol, 1e-3 * rtol if atol is None else atol, max_norm, max_steps)
    ensemble = Ensemble(flow, jax.tree.map(lambda leaf: leaf[0], starts), kernel, width, solver, rtol)
    states = ensemble.flatten(starts)
    quiet = gradient_level(flow, ensemble, states) if grad_tol is None else checks.real("grad_tol", grad_tol, above=0.0)
    ends = ensemble.run(states, plain_orders(len(states), quiet, t1), shared)
    return EnsembleResult(ensemble.unflatten(ends.states), ends, ensemble.kernel_name)


QUIET = 1e-6
"""Share of a large gradient below which one counts as small."""


def gradient_level(flow: AbstractFlow, ensemble: Ensemble, states: Float[np.ndarray, "num n"]) -> float:
    """The gradient norm that counts as small: :data:`QUIET` times a large one, from theory or from these states."""
    scale = flow.problem.gradient_scale
    if scale is None or not scale > 0:
        norms = start_norms(ensemble, states)
        norms = norms[np.isfinite(norms) & (norms > 0)]
        scale = float(np.median(norms)) if len(norms) else 1.0
    return QUIET * scale


def start_norms(ensemble: Ensemble, states: Float[np.ndarray, "num n"]) -> Float[np.ndarray, " num"]:
    """Gradient norms at some states: a run that is over at once."""
    shared = shared_settings(DEFAULT_RTOL, DEFAULT_ATOL, math.inf, 1)
    told = plain_orders(len(states), 0.0, math.inf)
    told[:, orders.ORDERS.index("stop_time")] = 0.0
    return ensemble.run(states, told, shared).grad_norms


def _check_field(flow: AbstractFlow, example: Params) -> None:
    """The field has the shapes of the parameters: otherwise broadcasting would move all of them by one number."""
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(example)]
    found = [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(flow.vector_field, example))]
    checks.require(found == shapes, "flow", f"have a vector field of the start's shapes {shapes}", found)
