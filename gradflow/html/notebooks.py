"""Rich representations: results as HTML tables where a notebook shows them.

No result type knows how it is drawn. Whoever wants tables asks for them once, ``gradflow.html.register()`` or
``%load_ext gradflow.html``; the types then have ``_repr_html_``, which every notebook, IPython's and others, looks for.
Datasets have xarray's own, figures are returned and shown by matplotlib's.
"""

from collections.abc import Callable
from typing import Any

from gradflow import reporting
from gradflow.basins import BasinEstimate
from gradflow.certificates import Certificate
from gradflow.critical_points import CriticalPoint
from gradflow.html import results
from gradflow.html.blocks import Block, Facts, Sentence, fragment
from gradflow.html.sentences import sections_of
from gradflow.studies import Study
from gradflow.trajectories import Trajectory


def register() -> None:
    """Gives the results an HTML table where a notebook shows them; calling it again changes nothing.

    :class:`~gradflow.Certificate`, :class:`~gradflow.CriticalPoint`, :class:`~gradflow.Trajectory`,
    :class:`~gradflow.Study` and :class:`~gradflow.BasinEstimate`.
    """
    for kind, blocks in BLOCKS.items():
        kind._repr_html_ = _representation(blocks)


def load_ipython_extension(_: Any) -> None:
    """For ``%load_ext gradflow.html``."""
    register()


def _representation(blocks: Callable[[Any], tuple[str, list[Block]]]) -> Callable[[Any], str]:
    def _repr_html_(self: Any) -> str:
        title, shown = blocks(self)
        return fragment(shown, title)

    return _repr_html_


def _certificate(certificate: Certificate) -> tuple[str, list[Block]]:
    return "", results.certificate_blocks(certificate)


def _point(point: CriticalPoint) -> tuple[str, list[Block]]:
    return "", results.point_blocks(point)


def _trajectory(trajectory: Trajectory) -> tuple[str, list[Block]]:
    passages = results.passage_blocks(trajectory) if trajectory.passages else []
    return "", [*results.trajectory_blocks(trajectory), *passages, *results.event_blocks(trajectory)]


def _study(study: Study) -> tuple[str, list[Block]]:
    said = sections_of(study)
    facts = [
        Facts("What ran", said.setup),
        Facts("What happened", said.outcome),
        Facts("Where it ended", said.endpoint),
    ]
    return said.title, [*facts, results.check_table(study), Sentence(said.verdict)]


def _estimate(estimate: BasinEstimate) -> tuple[str, list[Block]]:
    return reporting.basin_title(estimate), results.basin_blocks(estimate)


BLOCKS: dict[Any, Callable[[Any], tuple[str, list[Block]]]] = {
    Certificate: _certificate,
    CriticalPoint: _point,
    Trajectory: _trajectory,
    Study: _study,
    BasinEstimate: _estimate,
}
"""What each type shows: a title and blocks."""
