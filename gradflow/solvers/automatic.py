"""The automatic choice in the course of one integration: what it remembers from one question to the next."""

import math
from collections.abc import Callable

from gradflow.solvers.choosing import LIMITED_STEPS, Situation, better_solver, time_to_rest
from gradflow.solvers.states import Facts


class AutomaticChoice:
    """The name of the solver a run goes on with; mutable, used by the host loop only.

    Args:
        facts: where the run sets out.
        num_parameters, rtol, has_kinks, step_cost: as in :class:`gradflow.solvers.choosing.Situation`.
    """

    def __init__(
        self, facts: Facts, num_parameters: int, rtol: float, has_kinks: bool, step_cost: Callable[[], float]
    ) -> None:
        self.name, self.reason = "tsit5", "explicit order 5, the default"
        self._before, self._patience = facts, LIMITED_STEPS
        self._num_parameters, self._rtol = num_parameters, rtol
        self._has_kinks, self._step_cost = has_kinks, step_cost

    @property
    def capped_steps(self) -> float:
        """The number of stability-limited steps at which the compiled loop should ask."""
        return self._patience if self.name == "tsit5" else math.inf

    def is_changed(self, facts: Facts, level: float, horizon: float) -> bool:
        """True when the run should go on with another solver, whose name and reason are then in place.

        Args:
            facts: where the run stands.
            level: gradient norm at which it will have come to rest.
            horizon: flow time to the horizon, infinite without one.
        """
        if facts.num_capped >= self._patience:
            self._patience = 2 * int(facts.num_capped)
        before = self._before
        if facts.num_accepted < before.num_accepted + LIMITED_STEPS:
            return False
        self._before = facts
        found = better_solver(
            Situation(
                solver=self.name,
                num_parameters=self._num_parameters,
                rtol=self._rtol,
                num_capped=int(facts.num_capped),
                num_stiff=int(facts.num_stiff),
                step=facts.step,
                radius=facts.radius,
                horizon=horizon,
                to_rest=time_to_rest(facts.grad_norm, before.grad_norm, abs(facts.time - before.time), level),
                step_cost=self._step_cost,
                has_kinks=self._has_kinks,
            )
        )
        if found is None:
            return False
        self.name, reason = found
        self.reason = f"{reason}, until t = {facts.time:.3g}"
        return True
