"""SUNDIALS CVODE through scikit-sundae: BDF with the exact Jacobian, stopped by an event, one start after another."""

import numpy as np

from peers import Method, Outcome, Unavailable


def _build(problem, rtol, starts, times):
    del times
    try:
        from sksundae.cvode import CVODE
    except ImportError as error:
        raise Unavailable(f"scikit-sundae cannot be imported: {error}") from error
    jacobian = _jacobian(problem)

    def rhs(_, y, out):
        out[:] = problem.velocity_rows(y)

    def fill(_, y, __, out):
        out[:, :] = jacobian(y)

    def quiet(_, y, out):
        out[0] = np.linalg.norm(problem.velocity_rows(y)) - problem.grad_tol

    quiet.terminal, quiet.direction = [True], [-1]

    def follow(start):
        solver = CVODE(
            rhs, method="BDF", rtol=rtol, atol=1e-3 * rtol, jacfn=fill, eventsfn=quiet, num_events=1,
            max_num_steps=1_000_000,
        )  # fmt: skip
        solution = solver.solve(np.array([0.0, problem.t1]), start)
        return solution.y[-1], solution.t[-1]

    def run():
        pairs = [follow(start) for start in starts]
        return Outcome(np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs]))

    follow(starts[0])
    return run


def _jacobian(problem):
    """The derivative of the velocity at a flat state, compiled."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    data = problem.constants(jnp.asarray, jnp.tanh)

    def velocity(row):
        return jnp.concatenate([part.ravel() for part in problem.velocity(problem.split(row), data)])

    compiled = jax.jit(jax.jacfwd(velocity))
    return lambda y: np.asarray(compiled(y))


METHODS = (Method("sundials", "SUNDIALS CVODE BDF, exact Jacobian", "sundials", _build),)
