"""gradflow's own ensembles, with the library's problems and with a user's loss alone."""

from problems import digits

from peers import Method, Outcome, Unavailable


def _flow(problem):
    """The problem in the library's own words: known networks and losses."""
    import numpy as np

    import gradflow as gf

    if problem.name == "A":
        return gf.GradientFlow(gf.Regression(gf.networks.Linear((4, 4, 4, 2)), np.eye(4), problem.data["target"]))
    if problem.name == "C":
        return gf.GradientFlow(gf.Regression(gf.networks.Linear((8, 8, 8, 4)), *digits()))
    if problem.name == "D":
        network, data = gf.networks.Shallow((10, 10, 5)), problem.data
        return gf.GradientFlow(gf.Regression(network, data["inputs"], data["outputs"], normalization="mean"))
    return gf.GradientFlow(gf.model_problems.two_layer_scalar().problem)


def _hyperbola(point):
    return 0.5 * (1.0 - point[0] * point[1]) ** 2


def _flow_of_loss(problem):
    """The problem as a user without a formula for the gradient would write it: a loss, differentiated by JAX."""
    import jax.numpy as jnp

    import gradflow as gf

    if problem.name == "B":
        return gf.GradientFlow(gf.Landscape(_hyperbola))

    def loss(parts):
        return problem.loss(parts, problem.constants(jnp.asarray, jnp.tanh))

    return gf.GradientFlow(gf.Landscape(loss))


def _build(make_flow):
    def build(problem, rtol, starts, times):
        del times
        try:
            from gradflow.ensemble import Ensemble, plain_orders, shared_settings
        except ImportError as error:
            raise Unavailable(f"gradflow.ensemble cannot be imported: {error}") from error
        like = starts[0] if problem.name == "B" else problem.split(starts[0])
        ensemble = Ensemble(make_flow(problem), like)
        told = plain_orders(len(starts), problem.grad_tol, problem.t1)
        shared = shared_settings(rtol, 1e-3 * rtol, 1e150, 1_000_000)

        def run():
            ends = ensemble.run(starts, told, shared)
            return Outcome(ends.states, ends.times, float(ends.num_steps.mean()))

        run()
        return run

    return build


METHODS = (
    Method("gradflow", "gradflow ensemble", "gradflow", _build(_flow), measured_on_two=True, batched=True),
    Method("gradflow-loss", "gradflow ensemble, loss alone", "gradflow", _build(_flow_of_loss), batched=True),
)
