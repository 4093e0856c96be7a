"""SUNDIALS CVODE through scikit-sundae: BDF with and without the exact Jacobian, matrix-free BDF, and Adams."""

from functools import partial

import numpy as np

from peers import ATOL_SHARE, Method, Outcome, Unavailable, fastest

DENSE_BY_LAPACK = 100
"""Number of parameters above which LAPACK factorises faster than SUNDIALS' own loops (its documentation says so)."""


def _build(kind, problem, rtol):
    try:
        from sksundae.cvode import CVODE, CVODEJacTimes
    except ImportError as error:
        raise Unavailable(f"scikit-sundae cannot be imported: {error}") from error
    field = fastest.velocity(problem)
    counts = {"gradients": 0, "hessians": 0, "products": 0}
    options = {"method": "Adams" if kind == "adams" else "BDF"}
    options["linsolver"] = "lapackdense" if problem.dim > DENSE_BY_LAPACK else "dense"

    def rhs(_, y, out):
        counts["gradients"] += 1
        out[:] = field(y)

    if kind == "exact":
        jacobian = fastest.jacobian(problem)

        def fill(_, y, __, out):
            counts["hessians"] += 1
            out[:, :] = jacobian(y)

        options["jacfn"] = fill
    if kind == "krylov":
        product = fastest.product(problem)

        def times(_, y, __, vector, out):
            counts["products"] += 1
            out[:] = product(y, vector)

        options.update(linsolver="gmres", krylov_dim=30, jactimes=CVODEJacTimes(None, times))

    def run(t1):
        counts.update(gradients=0, hessians=0, products=0)
        solver = CVODE(rhs, rtol=rtol, atol=ATOL_SHARE * rtol, max_num_steps=100_000_000, **options)
        solution = solver.solve(np.array([0.0, t1]), problem.start)
        failure = "" if solution.success else str(solution.message)
        return Outcome(np.array(solution.y[-1]), dict(counts), failure)

    return run


LABELS = {
    "exact": "CVODE BDF, exact Jacobian",
    "differences": "CVODE BDF, difference Jacobian",
    "krylov": "CVODE BDF, GMRES with exact products",
    "adams": "CVODE Adams",
}


def methods():
    """One method a kind."""
    return [Method(f"cvode-{kind}", label, "sundials", partial(_build, kind)) for kind, label in LABELS.items()]
