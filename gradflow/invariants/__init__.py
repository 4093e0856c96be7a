"""What flows conserve, each quantity with its hypotheses, their truth values, and the flow it belongs to."""

from gradflow.invariants.invariant import Invariant as Invariant
from gradflow.invariants.invariant import Matrices as Matrices
from gradflow.invariants.invariant import contraction as contraction
from gradflow.invariants.linear import imbalance as imbalance
from gradflow.invariants.linear import invariants_of as invariants_of
from gradflow.invariants.linear import kernel_component as kernel_component
from gradflow.invariants.linear import norm_difference as norm_difference
