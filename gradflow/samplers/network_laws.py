"""The initial laws of networks as samplers. Knows laws and shapes, no region and no design."""

import math
from typing import Any

import equinox as eqx
import jax
import numpy as np

from gradflow import checks, initial_laws
from gradflow.samplers.regions import Gaussian
from gradflow.samplers.sampler import AbstractRandomSampler
from gradflow.samplers.templates import Template, template_of
from gradflow.types import Weights


class Law(AbstractRandomSampler):
    """Starts of an initial law of :mod:`gradflow.initial_laws`: ``draw(key) = law.sample(key, shapes)``.

    Args:
        law: ``"gaussian"``, ``"fan_in"``, ``"glorot"``, ``"balanced"``, ``"orthogonal"``, ``"zero_asymmetric"``, or an
            object of that module (or the user's own subclass of its abstract class, hashable).
        like: a network, a problem with one, or the shapes of the matrices.
        scale: the law's scale or gain, where `law` is a name.

    The last three laws live on sets of measure zero: a basin fraction estimated with them says nothing about almost
    every start. The last one has one start only.

    Raises:
        InputError: an unknown law or scale, or shapes that are not those of matrices (or, for laws of the whole
            product, do not chain).

    Example:
        >>> [layer.shape for layer in Law("glorot", ((4, 3), (2, 4)), scale=1.0).starts(0, [7, 8])]
        [(2, 4, 3), (2, 2, 4)]
    """

    law: initial_laws.AbstractLaw = eqx.field(static=True)
    template: Template = eqx.field(static=True)

    def __init__(self, law: str | initial_laws.AbstractLaw, like: Any, scale: float | None = None):
        if isinstance(law, str):
            checks.choice("law", law, initial_laws.LAWS)
            checks.require(scale is not None, "scale", "be given with the name of a law", None, "Typical: 0.5.")
            law = initial_laws.law(law, scale)  # type: ignore[arg-type]
        else:
            is_law = isinstance(law, initial_laws.AbstractLaw)
            checks.require(is_law, "law", "be the name of a law or an object of gradflow.initial_laws", repr(law))
            checks.require(scale is None, "scale", "be left out with an object", scale, "The object has its own.")
        self.law, self.template = law, template_of(like)
        checks.require(
            all(len(shape) == 2 for shape in self.template.shapes), "like", "have matrices only", self.template.shapes,
            "Use samplers.Gaussian for other parameters.",
        )  # fmt: skip
        jax.eval_shape(lambda key: law.sample(key, self.template.shapes), jax.eval_shape(lambda: jax.random.key(0)))

    def draw(self, key: jax.Array) -> Weights:
        """One start, hung on the tree of `like`."""
        layers = self.law.sample(key, self.template.shapes)
        return jax.tree.unflatten(self.template.structure, layers)

    def as_gaussian(self) -> Gaussian:
        """The same law as a map of the unit cube, for Sobol points and strata.

        Raises:
            InputError: a law whose entries are not independent and normal.
        """
        law, shapes = self.law, self.template.shapes
        if isinstance(law, initial_laws.Gaussian):
            deviations = [law.scale for _ in shapes]
        elif isinstance(law, initial_laws.FanIn):
            deviations = [law.gain / math.sqrt(d_in) for _, d_in in shapes]
        else:
            checks.require(
                isinstance(law, initial_laws.Glorot), "law", "have independent normal entries for a design",
                f"{type(law).__name__}, which is no map of a cube",
                "Use gaussian, fan_in or glorot, or sample it without a design.",
            )  # fmt: skip
            assert isinstance(law, initial_laws.Glorot)
            deviations = [law.gain * math.sqrt(2.0 / (d_out + d_in)) for d_out, d_in in shapes]
        parts = [np.full(math.prod(shape), deviation) for shape, deviation in zip(shapes, deviations, strict=True)]
        scale = np.concatenate(parts)
        return Gaussian(scale, like=self.template.unflattened(scale))
