"""Critical points: refine a state to the critical point it is at, and say of which kind that point is.

Sees a problem and a state, never the trajectory or the monitors that led to it.
"""

from gradflow.critical_points.classification import KINDS as KINDS
from gradflow.critical_points.classification import CriticalPoint as CriticalPoint
from gradflow.critical_points.classification import classify as classify
from gradflow.critical_points.classification import unnamed as unnamed
from gradflow.critical_points.refinement import Refinement as Refinement
from gradflow.critical_points.refinement import refine as refine
