"""What happened at the kinks along one integration, and whether the events pile up."""

from dataclasses import dataclass, replace

from gradflow.kinks.switching import Switch

MAX_TIMES = 10_000
"""Times of events that are kept."""

CROWD = 1e-7
"""Share of a step within which an event follows the last one too soon for the step to matter."""

PATIENCE = 50
"""Events in a row, and one for every surface besides, that may follow each other so soon before a run is stuck."""

MANY = 100
"""Events for every surface, and ten times as many besides, after which a run counts as chattering."""


@dataclass(frozen=True)
class KinkLog:
    """Counts of crossings, slides begun and ambiguous decisions, with the flow times of all events.

    `crowd` counts the events in a row each of which followed the one before within :data:`CROWD` of a step;
    `num_events` all of them, with or without consequence.
    """

    num_crossings: int = 0
    num_slides: int = 0
    num_ambiguous: int = 0
    times: tuple[float, ...] = ()
    crowd: int = 0
    limit: int = PATIENCE
    last: float = 0.0
    num_events: int = 0
    most_events: int = 10 * MANY

    @property
    def is_crowded(self) -> bool:
        """True when events accumulate at one point of time, or there are more than any flow should have."""
        return self.crowd > self.limit or self.num_events > self.most_events

    def begun(self, first: Switch) -> "KinkLog":
        """The log after the choice of the first piece."""
        limit = PATIENCE + first.met.size
        most = MANY * (10 + first.met.size)
        return replace(
            self, num_slides=first.num_slides, num_ambiguous=first.num_ambiguous, limit=limit, most_events=most
        )

    def then(self, switch: Switch, time: float, step: float) -> "KinkLog":
        """The log after one more event, at flow time `time`, when the solver proposed `step`."""
        is_soon = abs(time - self.last) <= CROWD * step
        return replace(
            self,
            num_crossings=self.num_crossings + switch.num_crossings,
            num_slides=self.num_slides + switch.num_slides,
            num_ambiguous=self.num_ambiguous + switch.num_ambiguous,
            times=(*self.times, time)[:MAX_TIMES],
            crowd=self.crowd + 1 if is_soon else 0,
            last=time,
            num_events=self.num_events + 1,
        )
