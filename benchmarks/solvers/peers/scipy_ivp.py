"""SciPy's solve_ivp: explicit methods, and implicit ones with the exact Jacobian."""

from functools import partial

from peers import ATOL_SHARE, Method, Outcome, fastest

EXPLICIT, IMPLICIT = ("RK45", "DOP853"), ("LSODA", "Radau", "BDF")


def _build(name, problem, rtol):
    from scipy.integrate import solve_ivp

    field = fastest.velocity(problem)
    jacobian = fastest.jacobian(problem) if name in IMPLICIT else None
    options = {} if jacobian is None else {"jac": lambda _, y: jacobian(y)}
    calls = [0]

    def counted(_, y):
        calls[0] += 1
        return field(y)

    def run(t1):
        calls[0] = 0
        # LSODA writes its complaints to the terminal; the status says the same.
        solution = solve_ivp(
            counted, (0.0, t1), problem.start, method=name, rtol=rtol, atol=ATOL_SHARE * rtol,
            t_eval=[t1], **options,
        )  # fmt: skip
        failure = "" if solution.success else str(solution.message)
        end = solution.y[:, -1] if solution.y.size else problem.start
        return Outcome(end, {"gradients": calls[0], "hessians": int(solution.njev)}, failure)

    return run


def methods():
    """One method a name of solve_ivp."""
    label = lambda name: f"SciPy {name}"  # noqa: E731
    return [Method(f"scipy-{name.lower()}", label(name), "scipy", partial(_build, name), is_explicit=name in EXPLICIT)
            for name in (*EXPLICIT, *IMPLICIT)]  # fmt: skip
