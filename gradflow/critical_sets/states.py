"""States as the closed forms take them: matrices of the network's shapes whose products are numbers."""

from typing import Any

import numpy as np
from jaxtyping import Float

from gradflow import checks
from gradflow.problem import Regression

LARGEST_PRODUCT = 1e140
"""What the product of the largest entries of all layers may be: its square, the loss, is then still a number."""


def matrices(problem: Regression, params: Any, name: str = "params") -> tuple[Float[np.ndarray, "_ _"], ...]:
    """`params` as finite float64 matrices of the network's shapes.

    Raises:
        InputError: not a tuple of such matrices, or entries so large that products of the layers overflow.
    """
    checks.require(isinstance(params, tuple | list), name, "be a tuple (W_1, ..., W_L)", type(params).__name__)
    layers = tuple(checks.finite_array(f"{name}[{index}]", layer) for index, layer in enumerate(params))
    shapes, expected = tuple(layer.shape for layer in layers), problem.network.shapes
    checks.require(shapes == expected, name, f"have the network's shapes {expected}", shapes)
    limit = LARGEST_PRODUCT ** (1.0 / len(layers))
    largest = max(float(np.max(np.abs(layer), initial=0.0)) for layer in layers)
    requirement = f"have entries of at most {limit:.1g}, so that products of layers are numbers"
    checks.require(largest <= limit, name, requirement, f"{largest:.3g}", "The trajectory has escaped.")
    return layers
