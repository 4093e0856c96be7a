"""Makes ``references.json``: the end of every problem by two methods that have nothing in common, and their agreement.

    python benchmarks/solvers/make_references.py [--only A h]

The first of the two is kept: a closed form where there is one, else Radau IIA collocation of order 17 in extended
precision (judged by halving its steps), else, where factorisations are too dear, diffrax's Dopri8 at rtol 1e-13. The
second is SciPy's Radau or DOP853 at rtol 1e-13. Hand-written fields are compared with gradflow's on the way.
"""

import argparse
import json

import collocation
import detest
import numpy as np
import problems
import references
from peers import fastest
from scipy.integrate import solve_ivp

CLOSED = {case.name: case.solution for case in detest.CASES}
BY_COLLOCATION, STIFF_CHECK = ("A", "chain", "tanh", "h", "residual"), ("h", "detest-stiff-A4")
AT_REST = {"tanh": 1e5}
"""Times from which a flow is at rest, so that the second method stops there; the agreement shows that it is."""

TIGHT = {"rtol": 1e-13, "atol": 1e-16}


def made(problem: problems.Problem) -> dict:
    """One entry of the file."""
    _compare_fields(problem)
    if CLOSED.get(problem.name):
        end, made_by, refined = CLOSED[problem.name](problem.t1), "closed form", None
    elif problem.name in BY_COLLOCATION:
        end, refined = _by_collocation(problem)
        made_by = "Radau IIA collocation of order 17 in extended precision"
    else:
        end, made_by, refined = _by_dopri8(problem), "diffrax Dopri8, rtol 1e-13, atol 1e-16", None
    name = "Radau" if problem.name in STIFF_CHECK else "DOP853"
    until = AT_REST.get(problem.name, problem.t1)
    other = _by_scipy(problem, name, until)
    entry = {
        "t1": problem.t1,
        "made_by": made_by,
        "checked_by": f"SciPy {name}, rtol 1e-13, atol 1e-16"
        + (f", at rest from t = {until:g}" if until < problem.t1 else ""),
        "agreement": problems.error_of(problem, end, other),
        "agreement_with_half_the_steps": refined,
        "start": references.encoded(problem.start),
        "end": references.encoded(end),
    }
    print(f"{problem.name:16} {made_by}: agrees to {entry['agreement']:.1e} with {entry['checked_by']}"
          + ("" if refined is None else f", to {refined:.1e} with half the steps"), flush=True)  # fmt: skip
    return entry


def _compare_fields(problem: problems.Problem) -> None:
    """Raises AssertionError when the field on NumPy vectors is not the flow's."""
    for point in (problem.start, 1.1 * problem.start + 0.01):
        compiled = problem.flat(problem.flow.vector_field(problem.split(point)))
        assert np.allclose(problem.velocity(point), compiled, rtol=1e-12, atol=1e-13 * np.max(np.abs(compiled)))


def _by_collocation(problem: problems.Problem) -> tuple[np.ndarray, float]:
    """The end with twice the steps of a run of Radau at 1e-6, and how far the end with those steps is."""
    jacobian = fastest.jacobian(problem)
    coarse = solve_ivp(
        lambda _, y: problem.velocity(y), (0.0, problem.t1), problem.start, method="Radau", rtol=1e-6, atol=1e-9,
        jac=lambda _, y: jacobian(y),
    )  # fmt: skip
    steps = np.diff(coarse.t)
    ends = [
        collocation.integrate(problem.velocity, jacobian, problem.start, np.repeat(steps / parts, parts))
        for parts in (1, 2)
    ]
    rough, fine = (np.asarray(end, np.float64) for end in ends)
    return fine, problems.error_of(problem, fine, rough)


def _by_dopri8(problem: problems.Problem) -> np.ndarray:
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda _, y, flow: flow.vector_field(y)), diffrax.Dopri8(), 0.0, problem.t1, None,
        jax.tree.map(jnp.asarray, problem.params0), problem.flow.compact(), max_steps=None,
        stepsize_controller=diffrax.PIDController(**TIGHT),
    )  # fmt: skip
    return problem.flat(jax.tree.map(lambda leaf: np.asarray(leaf[-1]), solution.ys))


def _by_scipy(problem: problems.Problem, name: str, t1: float) -> np.ndarray:
    field = fastest.velocity(problem)
    options = {}
    if name == "Radau":
        jacobian = fastest.jacobian(problem)
        options["jac"] = lambda _, y: jacobian(y)
    solution = solve_ivp(lambda _, y: field(y), (0.0, t1), problem.start, method=name, t_eval=[t1], **TIGHT, **options)
    assert solution.success, solution.message
    return solution.y[:, -1]


def main() -> None:
    """Makes the entries that were asked for and keeps the others."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(problems.PROBLEMS), help="problems by name")
    entries = dict(references.entries())
    for name in parser.parse_args().only:
        entries[name] = made(problems.get(name))
        ordered = {key: entries[key] for key in problems.PROBLEMS if key in entries}
        references.FILE.write_text(json.dumps(ordered, indent=1) + "\n")


if __name__ == "__main__":
    main()
