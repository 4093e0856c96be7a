"""What flows conserve, each quantity with its hypotheses, their truth values, and the flow it belongs to."""

from gradflow.invariants.catalogue import invariants_of as invariants_of
from gradflow.invariants.diagonal import square_difference as square_difference
from gradflow.invariants.invariant import Behaviour as Behaviour
from gradflow.invariants.invariant import Invariant as Invariant
from gradflow.invariants.invariant import Matrices as Matrices
from gradflow.invariants.invariant import contraction as contraction
from gradflow.invariants.linear import imbalance as imbalance
from gradflow.invariants.linear import kernel_component as kernel_component
from gradflow.invariants.linear import norm_difference as norm_difference
from gradflow.invariants.linear import total_imbalance as total_imbalance
from gradflow.invariants.linear import weighted_imbalance as weighted_imbalance
from gradflow.invariants.residual import shifted_imbalance as shifted_imbalance
from gradflow.invariants.shallow import distinct_columns as distinct_columns
from gradflow.invariants.shallow import unit_norm_balance as unit_norm_balance
from gradflow.invariants.shallow import unit_potential_balance as unit_potential_balance
