"""Small real studies of every kind that reports and files must cope with, each computed once for all tests.

Few shapes on purpose: each one is compiled anew, which is what these tests spend their time on.
"""

import functools
import itertools
from unittest import mock

import jax.numpy as jnp
import numpy as np

import gradflow as gf
from gradflow import integration, regularizers

SEED = 3


def _regression(**options):
    rng = np.random.default_rng(5)
    X, Y = rng.standard_normal((3, 10)), rng.standard_normal((2, 10))
    return gf.Regression(gf.networks.Linear((3, 3, 2)), X, Y, **options)


@functools.cache
def _linear():
    """A flow and a start whose later layer dominates, so that an exponential rate is certified."""
    problem = _regression()
    layers = problem.init(SEED, "orthogonal", 1.0)
    return gf.GradientFlow(problem), tuple(c * np.array(layer) for c, layer in zip((0.1, 2.0), layers, strict=True))


@functools.cache
def _chain():
    """Three layers of width 1 and a start on the stable manifold of the saddle at zero, which is not strict."""
    problem = gf.Regression(gf.networks.Linear((1, 1, 1, 1)), np.ones((1, 1)), np.ones((1, 1)))
    return gf.GradientFlow(problem), tuple(np.array([[value]]) for value in (-0.5, 0.5, 0.5))


@functools.cache
def _logarithm():
    return gf.GradientFlow(gf.Landscape(lambda p: jnp.sum(jnp.log(p)), name="logarithm"))


def linear():
    return gf.study(*_linear(), settings={"data": "normal", "seed": SEED, "rtol": 1e-8})


def reduced():
    flow = gf.ReducedFlow(_linear()[0].problem)
    return gf.study(flow, flow.coordinates(_linear()[1]))


def decayed():
    """Averaged over the samples, with weight decay."""
    problem = _regression(normalization="mean", regularizer=regularizers.WeightDecay(0.1))
    return gf.study(gf.GradientFlow(problem), _linear()[1], save_at=[0.0, 1.0, 2.0, 5.0, 10.0, 500.0])


def backward():
    return gf.study(*_linear(), t1=-0.01)


def escaped():
    flow = _linear()[0]
    return gf.study(flow, flow.problem.init(0, scale=0.1), max_norm=1.0)


def nonstrict():
    return gf.study(*_chain())


def step_limit():
    return gf.study(*_chain(), max_steps=100)


def interrupted():
    """Ctrl-C in the second chunk of steps."""
    advance, calls = integration.advance, itertools.count()

    def advance_once(*args):
        if next(calls):
            raise KeyboardInterrupt
        return advance(*args)

    with mock.patch.object(integration, "advance", advance_once):
        return gf.study(*_chain())


def model_problem():
    known = gf.model_problems.get("two_layer_scalar")
    return gf.study(gf.GradientFlow(known.problem), np.array([0.5, 0.7]))


def dictionary():
    """The parameters are a dictionary with a scalar, a matrix and a list."""

    def fun(params):
        return (params["a"] - 2) ** 2 + jnp.sum((params["b"] - 1) ** 2) + jnp.sum(params["c"][0] ** 2)

    start = {"b": np.zeros((2, 1)), "a": np.array(0.5), "c": [np.ones(1)]}
    return gf.study(gf.GradientFlow(gf.Landscape(fun, name="bowl")), start)


def stalled():
    """The loss falls without bound towards a finite state."""
    return gf.study(_logarithm(), np.array([1.0, 0.3]))


def nonfinite():
    return gf.study(_logarithm(), np.array([-1.0, 1.0]))


MAKERS = (
    linear, reduced, decayed, backward, escaped, nonstrict, step_limit, interrupted, model_problem, dictionary,
    stalled, nonfinite,
)  # fmt: skip
NAMES = tuple(maker.__name__ for maker in MAKERS)


@functools.cache
def study(name):
    """The study of that name."""
    return dict(zip(NAMES, MAKERS, strict=True))[name]()
