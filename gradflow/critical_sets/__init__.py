"""Closed-form critical sets, one package per family; they see a problem and a state, never a trajectory.

Each family has ``construct`` (a point from free parameters), ``decompose`` (what a given point is, "ambiguous" when
that cannot be decided), ``enumerate`` (its classes, as :class:`CriticalClass`) and ``sample`` (a member of a class):
:mod:`.shallow_linear` and :mod:`.deep_linear` (paper 002, and 003's description), :mod:`.relu_cones` (paper 002,
section 5), :mod:`.balanced` (paper 001) and :mod:`.minimisers` (paper 000).
"""

from gradflow.critical_sets import balanced as balanced
from gradflow.critical_sets import deep_linear as deep_linear
from gradflow.critical_sets import minimisers as minimisers
from gradflow.critical_sets import relu_cones as relu_cones
from gradflow.critical_sets import shallow_linear as shallow_linear
from gradflow.critical_sets.classes import CriticalClass as CriticalClass
from gradflow.critical_sets.deep_linear import NOISE_FLOOR as NOISE_FLOOR
from gradflow.critical_sets.deep_linear import LinearCriticalPoint as LinearCriticalPoint
from gradflow.critical_sets.deep_linear import one_based as one_based
from gradflow.critical_sets.deep_linear import recognise as recognise
from gradflow.critical_sets.deep_linear import shallow_index as shallow_index
from gradflow.critical_sets.ladder import CriticalValues as CriticalValues
from gradflow.critical_sets.ladder import critical_values as critical_values
