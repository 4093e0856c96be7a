"""Critical points of ReLU networks with one hidden layer, cone by cone (paper 002, section 5, corrected)."""

from gradflow.critical_sets.relu_cones.cones import Cone as Cone
from gradflow.critical_sets.relu_cones.cones import cone_of as cone_of
from gradflow.critical_sets.relu_cones.cones import realisable_cones as realisable_cones
from gradflow.critical_sets.relu_cones.construction import active_preactivations as active_preactivations
from gradflow.critical_sets.relu_cones.construction import construct as construct
from gradflow.critical_sets.relu_cones.construction import spectrum as spectrum
from gradflow.critical_sets.relu_cones.enumeration import enumerate_classes as enumerate_classes
from gradflow.critical_sets.relu_cones.feasibility import Existence as Existence
from gradflow.critical_sets.relu_cones.feasibility import existence as existence
from gradflow.critical_sets.relu_cones.kinks import GlobalMinimum as GlobalMinimum
from gradflow.critical_sets.relu_cones.kinks import global_minimum as global_minimum
from gradflow.critical_sets.relu_cones.pieces import Piece as Piece
from gradflow.critical_sets.relu_cones.recognition import Decomposition as Decomposition
from gradflow.critical_sets.relu_cones.recognition import decompose as decompose
from gradflow.critical_sets.relu_cones.sampling import sample as sample
from gradflow.critical_sets.relu_cones.second_order import descent_direction as descent_direction
from gradflow.critical_sets.relu_cones.stationarity import Descent as Descent
from gradflow.critical_sets.relu_cones.stationarity import directional_derivative as directional_derivative

enumerate = enumerate_classes  # noqa: A001 - the word of the other families; shadows nothing but this package's own name
