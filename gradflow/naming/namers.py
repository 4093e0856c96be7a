"""Who names the endpoints of a flow: closed-form theory where there is any, discovery elsewhere.

A namer is asked for a batch of endpoints and answers for each of them alone, whatever else is in the batch.
"""

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from gradflow import checks
from gradflow.naming.evaluation import Evaluator, Flat, evaluator
from gradflow.naming.examination import check_leading_axis
from gradflow.naming.labels import Names
from gradflow.precision import in_double, require_concrete
from gradflow.problem import AbstractProblem
from gradflow.types import Params


class AbstractNamer(abc.ABC):
    """Names endpoints of one problem. Final subclasses give `problem` and `_names`.

    A subclass must name each row by that row alone; it may use compiled functions on blocks of fixed size and NumPy's
    stacked linear algebra, whose results for one row do not depend on the others. It names a saddle or a degenerate
    point only where `has_dwelt` says that the flow stays, and says "undetermined" with a reason wherever the evidence
    does not decide.
    """

    problem: AbstractProblem

    @in_double
    def names(
        self,
        endpoints: Params,
        samples: Int[np.ndarray, " num"] | None = None,
        has_dwelt: Bool[np.ndarray, " num"] | None = None,
    ) -> Names:
        """What each of a batch of endpoints is at.

        Args:
            endpoints: states, every leaf with a leading axis "sample".
            samples: their numbers in the run, which choose representatives; default 0, 1, ...
            has_dwelt: True where the flow stayed so long that it is at a limit, even an unstable one (see
                :data:`gradflow.stopping.PATIENCE`). States whose gradient is exactly zero count as such anyway.

        Raises:
            InputError: leaves without a common leading axis or of wrong shapes, `samples` or `has_dwelt` of another
                length.
        """
        require_concrete("names", self.problem, endpoints)
        num = check_leading_axis(endpoints)
        evaluate = evaluator(self.problem, endpoints)
        numbers = np.arange(num) if samples is None else np.asarray(samples)
        stays = np.zeros(num, dtype=bool) if has_dwelt is None else np.asarray(has_dwelt)
        for name, array in (("samples", numbers), ("has_dwelt", stays)):
            checks.require(array.shape == (num,), name, f"have one entry per endpoint, {num}", array.shape)
        with np.errstate(all="ignore"):  # what is not finite is named so
            return self._names(evaluate, evaluate.flatten(endpoints), numbers, stays)

    @abc.abstractmethod
    def _names(self, evaluate: Evaluator, flat: Flat, samples: np.ndarray, has_dwelt: np.ndarray) -> Names:
        """The names of the states in the rows of `flat`."""


Known = Mapping[str, Any]
"""Critical points of the user's, by name; each a pytree like a state."""
