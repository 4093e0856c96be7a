"""Events: places on a trajectory where a function of the parameters changes sign, located while it is integrated.

gf.integrate(flow, start, events=[gf.events.loss_level(problem, 0.1), gf.events.norm_bound(10.0, is_terminal=True)])
"""

from gradflow.events.event import Event, activation_change, as_events, loss_level, norm_bound
from gradflow.events.locating import Located, Locator, standing_at

__all__ = ["Event", "Located", "Locator", "activation_change", "as_events", "loss_level", "norm_bound", "standing_at"]
