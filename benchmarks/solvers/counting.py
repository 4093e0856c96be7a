"""Counts evaluations inside compiled programs: how often a gradient, a dense Hessian or a product was computed.

Installed in a process of its own, since every evaluation calls back into Python. A Hessian-vector product is a
derivative of the gradient in one direction; so it is counted by the derivative rule of an identity through which the
gradient's arguments pass. A dense Jacobian made of n products counts as n products; a Hessian written by hand, or taken
by ``jax.hessian``, counts as one Hessian.
"""

from collections import Counter

_COUNTS: Counter = Counter()


def reset() -> None:
    """Every count is zero."""
    _COUNTS.clear()


def read() -> dict[str, int]:
    """The counts since :func:`reset`, after all running programs have ended."""
    import jax

    jax.effects_barrier()
    return {name: int(_COUNTS[name]) for name in ("gradients", "hessians", "products")}


def install() -> None:
    """Makes all problems of gradflow count, before any of them is compiled."""
    import jax

    from gradflow.problem import Landscape, Regression

    @jax.custom_jvp
    def passed(params):
        jax.debug.callback(_tick("gradients"))
        return params

    @passed.defjvp
    def derivative(primals, tangents):
        jax.debug.callback(_tick("products"), jax.tree.leaves(tangents[0])[0].ravel()[0])
        return passed(*primals), tangents[0]

    inside = [0]

    def counted_gradient(original):
        def gradient(self, params):
            if inside[0]:
                return original(self, params)
            return original(self, passed(params))

        return gradient

    def counted_hessian(original):
        def hessian(self, params):
            jax.debug.callback(_tick("hessians"), jax.tree.leaves(params)[0].ravel()[0])
            inside[0] += 1
            try:
                return original(self, params)
            finally:
                inside[0] -= 1

        return hessian

    for kind in (Regression, Landscape):
        kind.gradient = counted_gradient(kind.gradient)
        kind.hessian = counted_hessian(kind.hessian)


def _tick(name):
    def tick(*_):
        _COUNTS[name] += 1

    return tick
