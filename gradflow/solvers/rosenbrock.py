"""Rosenbrock methods with the exact symmetric Jacobian: one factorisation a step, no iteration, L-stable.

A step of s stages solves ``(I / (gamma h) - J) U_i = f(y + sum_j a_ij U_j) + sum_j c_ij U_j / h`` for i = 1, ..., s and
ends at ``y + sum_i m_i U_i``. Along a gradient flow ``-J`` is the Hessian, so the matrix is symmetric, and positive
definite exactly when ``gamma h |lambda_min| < 1`` at a point where the lowest eigenvalue is negative. Cholesky's
factorisation is half the work of any other and fails beyond that, which is wanted: there an L-stable method would damp
what really grows, and step over a saddle as if it were a minimum. Such a step is refused, and a shorter one is taken.

Beyond a few thousand parameters the equations are solved by conjugate gradients on Jacobian-vector products (lineax).
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from gradflow.solvers.base import AbstractFlowSolver, FlatField, dense_info, smooth_energy
from gradflow.solvers.factors import CholeskyFactor
from gradflow.types import Array, Params, Scalar

DENSE_PARAMETERS = 4000
"""Number of parameters above which the Jacobian is not formed (8 n^2 bytes: 128 MB)."""

MAX_ITERATIONS = 2000
"""Conjugate-gradient iterations for one stage; a step that needs more is refused."""


class Tableau(NamedTuple):
    """Coefficients in the form that needs no product with the Jacobian; the last stage is the error estimate.

    `stages` and `couplings` are strictly lower triangular; the solution is the last row of `stages` plus the last
    stage, so that the methods are stiffly accurate. `outputs` are the rows g of the dense output
    ``y(theta) = (1 - theta) y0 + theta (y1 + (1 - theta) (g_1 + theta g_2 + ...))``; none: there is no own one.
    """

    order: int
    gamma: float
    stages: tuple[tuple[float, ...], ...]
    couplings: tuple[tuple[float, ...], ...]
    outputs: tuple[tuple[float, ...], ...] = ()

    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """`stages` and `couplings` as square arrays."""
        size = len(self.stages)
        square = lambda rows: np.array([[*row, *(0.0,) * (size - len(row))] for row in rows])  # noqa: E731
        return square(self.stages), square(self.couplings)


RODAS3 = Tableau(3, 0.5, ((), (0.0,), (2.0, 0.0), (2.0, 0.0, 1.0)), ((), (4.0,), (1.0, -1.0), (1.0, -1.0, -8.0 / 3.0)))

RODAS4 = Tableau(
    4,
    0.25,
    (
        (),
        (1.544,),
        (0.9466785280815826, 0.2557011698983284),
        (3.314825187068521, 2.896124015972201, 0.9986419139977817),
        (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895),
        (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895, 1.0),
    ),
    (
        (),
        (-5.6688,),
        (-2.430093356833875, -0.2063599157091915),
        (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
        (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.7089089320616),
        (8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136, -6.058818238834054),
    ),
    (
        (10.12623508344586, -7.487995877610167, -34.80091861555747, -7.992771707568823, 1.025137723295662, 0.0),
        (-0.6762803392801253, 6.087714651680015, 16.43084320892478, 24.76722511418386, -6.594389125716872, 0.0),
    ),
)

_FIFTH = (-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946)

RODAS5P = Tableau(
    5,
    0.21193756319429014,
    (
        (),
        (3.0,),
        (2.849394379747939, 0.45842242204463923),
        (-6.954028509809101, 2.489845061869568, -10.358996098473584),
        (2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641),
        _FIFTH,
        (*_FIFTH, 1.0),
        (*_FIFTH, 1.0, 1.0),
    ),
    (
        (),
        (-14.155112264123755,),
        (-17.97296035885952, -2.859693295451294),
        (147.12150275711716, -1.41221402718213, 71.68940251302358),
        (165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306),
        (24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471),
        (30.91273214028599, -3.1208243349937974, 77.79954646070892, 34.28646028294783, -19.097331116725623,
         -28.087943162872662),
        (37.80277123390563, -3.2571969029072276, 112.26918849496327, 66.9347231244047, -40.06618937091002,
         -54.66780262877968, -9.48861652309627),
    ),
    (
        (25.948786856663858, -2.5579724845846235, 10.433815404888879, -2.3679251022685204, 0.524948541321073,
         1.1241088310450404, 0.4272876194431874, -0.17202221070155493),
        (-9.91568850695171, -0.9689944594115154, 3.0438037242978453, -24.495224566215796, 20.176138334709044,
         15.98066361424651, -6.789040303419874, -6.710236069923372),
        (11.419903575922262, 2.8879645146136994, 72.92137995996029, 80.12511834622643, -52.072871366152654,
         -59.78993625266729, -0.15582684282751913, 4.883087185713722),
    ),
)  # fmt: skip


class AbstractRosenbrock(AbstractFlowSolver):
    """A Rosenbrock method; its fields are the same for all of them.

    Args:
        jacobian: ``(params, args) -> (n, n)`` matrix of the field on flattened parameters, for a gradient flow minus
            the Hessian. None: forward-mode differentiation of the field.
        is_symmetric: False for fields that are no gradients; then LU takes the place of Cholesky's factorisation, and
            GMRES of conjugate gradients.
        matrix_free: solve by iteration; None: beyond :data:`DENSE_PARAMETERS` parameters.
        tolerance: relative residual of the iteration. The local error of a step is not below it.

    Accuracy: local errors of order ``order + 1``; L-stable and stiffly accurate. Refused steps have an infinite error.
    """

    jacobian: Callable[[Params, Any], Array] | None = None
    is_symmetric: bool = eqx.field(static=True, default=True)
    matrix_free: bool | None = eqx.field(static=True, default=None)
    tolerance: float = eqx.field(static=True, default=1e-10)

    real_stability_limit: ClassVar[float] = math.inf
    coefficients: eqx.AbstractClassVar[Tableau]

    def order(self, terms: Any) -> int:
        """The order of the method."""
        del terms
        return self.coefficients.order

    def init(self, terms: Any, t0: Any, t1: Any, y0: Params, args: Any) -> Params:
        """The field at the start, carried from step to step."""
        del t1
        return terms.vf(t0, y0, args)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Params, args: Any, solver_state: Params, made_jump: Any
    ) -> tuple[Params, Params, dict[str, Any], Params, Any]:
        """One step; its last stage is the error estimate."""
        step = terms.contr(t0, t1)  # negative where diffrax integrates backward
        field = FlatField(terms, t0, y0, args)
        start = field.flat
        speed = jax.lax.cond(
            jnp.asarray(made_jump), lambda: field.value(start), lambda: ravel_pytree(solver_state)[0]
        )  # fmt: skip
        solve = self._equations(field, y0, args, step)
        stages = self._stages(field, step, speed, solve)
        size = stages.shape[0]
        end = start + jnp.asarray(self.coefficients.matrices()[0][-1]) @ stages + stages[size - 1]
        end_speed = field.value(end)
        failed = ~(jnp.all(jnp.isfinite(end)) & jnp.all(jnp.isfinite(end_speed)))
        error = jnp.where(failed, jnp.inf, jnp.abs(stages[size - 1]))
        energy = smooth_energy(step, (start, end), self._smooth_speeds(stages, end - start, step, (speed, end_speed)))
        info = dense_info(field, step, (start, end), (speed, end_speed), energy)
        return field.unravel(end), field.unravel(error), info, field.unravel(end_speed), diffrax.RESULTS.successful

    def _equations(self, field: FlatField, y0: Params, args: Any, step: Scalar) -> Callable[[Array], Array]:
        """The solver of the stage equations; it gives NaN where it fails."""
        size = field.flat.size
        shift, sign = 1.0 / (self.coefficients.gamma * step), jnp.sign(step)
        if self.matrix_free or (self.matrix_free is None and size > DENSE_PARAMETERS):
            return self._iteration(field, shift, sign)
        if self.jacobian is None:
            jacobian = jax.jacfwd(field.value)(field.flat)
        else:
            jacobian = jnp.asarray(self.jacobian(y0, args))
        matrix = shift * jnp.eye(size, dtype=jacobian.dtype) - jacobian
        if self.is_symmetric:
            factor = CholeskyFactor.of(sign * matrix)
            return lambda right: sign * factor.solve(right)
        factors = jax.scipy.linalg.lu_factor(matrix)
        return lambda right: jax.scipy.linalg.lu_solve(factors, right)

    def _smooth_speeds(
        self, stages: Array, change: Array, step: Scalar, speeds: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        """The dense output's derivative at the ends: the field there is large by what a step is off a stiff valley."""
        if not self.coefficients.outputs:
            return speeds
        bends = jnp.asarray(self.coefficients.outputs) @ stages
        return (change + bends[0]) / step, (change - jnp.sum(bends, axis=0)) / step

    def _iteration(self, field: FlatField, shift: Scalar, sign: Scalar) -> Callable[[Array], Array]:
        """Solves by products with the Jacobian only; a solution that was not found is NaN."""
        _, derivative = jax.linearize(field.value, field.flat)
        operator = lineax.FunctionLinearOperator(
            lambda v: sign * (shift * v - derivative(v)),
            jax.eval_shape(lambda: field.flat),
            lineax.positive_semidefinite_tag if self.is_symmetric else (),
        )
        options = {"rtol": self.tolerance, "atol": 0.0, "max_steps": MAX_ITERATIONS}
        method = lineax.CG(**options) if self.is_symmetric else lineax.GMRES(**options)

        def solve(right: Float[Array, " n"]) -> Float[Array, " n"]:
            # The iteration measures residuals entry by entry, against the entries of the right-hand side.
            size = jnp.maximum(jnp.max(jnp.abs(right)), jnp.finfo(right.dtype).tiny)
            solution = lineax.linear_solve(operator, right / size, method, throw=False)
            is_solved = solution.result == lineax.RESULTS.successful
            return jnp.where(is_solved, sign * size * solution.value, jnp.nan)

        return solve

    def _stages(
        self, field: FlatField, step: Scalar, speed: Array, solve: Callable[[Array], Array]
    ) -> Float[Array, "stages n"]:
        """The stages ``U_i``."""
        rows, couplings = (jnp.asarray(matrix) for matrix in self.coefficients.matrices())
        size, start = len(self.coefficients.stages), field.flat
        stages = jnp.zeros((size, start.size), start.dtype).at[0].set(solve(speed))

        def stage(index: Any, stages: Any) -> Any:
            right = field.value(start + rows[index] @ stages) + couplings[index] @ stages / step
            return stages.at[index].set(solve(right))

        return jax.lax.fori_loop(1, size, stage, stages)


class Rodas3(AbstractRosenbrock):
    """Order 3 with an estimate of order 2, 4 stages. Source: Sandu et al. 1997, table 3."""

    coefficients: ClassVar[Tableau] = RODAS3


class Rodas4(AbstractRosenbrock):
    """Order 4 with an estimate of order 3, 6 stages. Source: Hairer and Wanner 1996, section IV.7, RODAS."""

    coefficients: ClassVar[Tableau] = RODAS4


class Rodas5P(AbstractRosenbrock):
    """Order 5 with an estimate of order 4, 8 stages. Source: Steinebach 2023."""

    coefficients: ClassVar[Tableau] = RODAS5P
