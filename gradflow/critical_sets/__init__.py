"""Closed-form critical sets, one module per family; they see a problem and a state, never a trajectory."""

from gradflow.critical_sets.deep_linear import NOISE_FLOOR as NOISE_FLOOR
from gradflow.critical_sets.deep_linear import LinearCriticalPoint as LinearCriticalPoint
from gradflow.critical_sets.deep_linear import one_based as one_based
from gradflow.critical_sets.deep_linear import recognise as recognise
from gradflow.critical_sets.deep_linear import shallow_index as shallow_index
from gradflow.critical_sets.ladder import CriticalValues as CriticalValues
from gradflow.critical_sets.ladder import critical_values as critical_values
