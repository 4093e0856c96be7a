"""diffrax's own solvers through a compiled diffeqsolve, warm; Kvaerno5 as it comes and as well as we could tune it.

Tuning so far, on the landscape h at rtol 1e-4 only: full Newton made Kvaerno5 up to 200 times faster than its default
chord iteration. Newton's tolerance and a PI controller were not settled there, and other problems were not tried.
The state is handed over as one flat vector or in the parameters' own shapes, whichever runs faster.
"""

import time
from functools import partial

import numpy as np

from peers import ATOL_SHARE, Method, Outcome

KINDS = {
    "tsit5": "diffrax Tsit5",
    "dopri8": "diffrax Dopri8",
    "kvaerno5": "diffrax Kvaerno5",
    "kvaerno5-newton": "diffrax Kvaerno5, full Newton",
    "kvaerno5-krylov": "diffrax Kvaerno5, Newton with GMRES",
}


def _parts(kind, rtol):
    """Solver and controller."""
    import diffrax
    import lineax
    import optimistix

    tolerances = {"rtol": rtol, "atol": ATOL_SHARE * rtol}
    solver = {
        "tsit5": diffrax.Tsit5,
        "dopri8": diffrax.Dopri8,
        "kvaerno5": diffrax.Kvaerno5,
        "kvaerno5-newton": lambda: diffrax.Kvaerno5(root_finder=optimistix.Newton(**tolerances)),
        "kvaerno5-krylov": lambda: diffrax.Kvaerno5(
            root_finder=optimistix.Newton(
                **tolerances, linear_solver=lineax.GMRES(rtol=1e-4, atol=1e-4 * rtol, restart=40)
            )
        ),
    }[kind]()
    return solver, diffrax.PIDController(rtol=rtol, atol=ATOL_SHARE * rtol)


def _build(kind, problem, rtol):
    import diffrax
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    on_device = lambda leaf: jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf  # noqa: E731
    flow = jax.tree.map(on_device, problem.flow.compact())
    solver, controller = _parts(kind, rtol)

    def flat_field(_, y, flow):
        return jax.flatten_util.ravel_pytree(flow.vector_field(problem.split(y)))[0]

    def shaped_field(_, y, flow):
        return flow.vector_field(y)

    def program(field):
        @eqx.filter_jit
        def solve(flow, controller, start, t1):
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(field), solver, 0.0, t1, None, start, flow, stepsize_controller=controller,
                max_steps=None, throw=False,
            )  # fmt: skip
            return jax.tree.map(lambda leaf: leaf[-1], solution.ys), solution.stats, solution.result

        return solve

    forms = [(program(flat_field), jnp.asarray(problem.start))]
    if isinstance(problem.params0, tuple):
        forms.append((program(shaped_field), jax.tree.map(jnp.asarray, problem.params0)))
    solve, start = min(forms, key=lambda form: _seconds(form, flow, controller, problem.t1)) if forms[1:] else forms[0]

    def run(t1):
        end, stats, result = jax.block_until_ready(solve(flow, controller, start, jnp.asarray(t1)))
        failure = "" if bool(result == diffrax.RESULTS.successful) else str(diffrax.RESULTS[result])
        steps, rejected = int(stats["num_accepted_steps"]), int(stats["num_rejected_steps"])
        return Outcome(problem.flat(jax.tree.map(np.asarray, end)), {"steps": steps, "rejected": rejected}, failure)

    return run


def _seconds(form, flow, controller, t1):
    """Shortest of three runs over a thousandth of the horizon."""
    import jax
    import jax.numpy as jnp

    solve, start = form
    laps = []
    for _ in range(4):
        begun = time.perf_counter()
        jax.block_until_ready(solve(flow, controller, start, jnp.asarray(1e-3 * t1)))
        laps.append(time.perf_counter() - begun)
    return min(laps[1:])


def methods():
    """One method a kind."""
    explicit = ("tsit5", "dopri8")
    return [Method(f"diffrax-{kind}", label, "diffrax", partial(_build, kind), False, False, kind in explicit)
            for kind, label in KINDS.items()]  # fmt: skip
