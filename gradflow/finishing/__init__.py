"""Flow, then finish: from inside the basin of a minimum to the limit of the flow, by Newton's method with a bound.

A flow needs long for its last digits and Newton's method three steps; but on a continuum of minima Newton's method may
lead to another point of it than the flow does. Here the finish moves along the normal space only, and how far the
flow's own limit can be from where it arrives is bounded, hypothesis by hypothesis. Sees a flow, a state and its
trajectory; knows nothing of kinds of critical points, monitors or certificates of theory.
"""

from gradflow.finishing.assessing import finish as finish
from gradflow.finishing.bounds import FlowBounds as FlowBounds
from gradflow.finishing.bounds import flow_bounds as flow_bounds
from gradflow.finishing.outcomes import Finish as Finish
from gradflow.finishing.to_limit import integrate_to_limit as integrate_to_limit
