"""Critical points of deep linear networks in closed form (papers 002 and 003)."""

from gradflow.critical_sets.deep_linear.recognition import NOISE_FLOOR as NOISE_FLOOR
from gradflow.critical_sets.deep_linear.recognition import LinearCriticalPoint as LinearCriticalPoint
from gradflow.critical_sets.deep_linear.recognition import one_based as one_based
from gradflow.critical_sets.deep_linear.recognition import recognise as recognise
from gradflow.critical_sets.deep_linear.recognition import shallow_index as shallow_index
