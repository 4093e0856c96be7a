"""Critical points of ReLU networks with one hidden layer, cone by cone (paper 002, section 5, corrected).

``enumerate(problem)`` lists the classes, ``sample`` draws a member of one, ``construct`` builds a point from free
parameters, ``decompose`` says what a given point is, ``descent_direction`` leads down from it, ``global_minimum`` finds
the least loss of a single unit over all cones and kinks.

A class has the pattern ``kind``: ``"captured"`` (singular directions of the active samples), ``"degenerate"`` (a zero
singular value), ``"silent"`` (A2 = 0), ``"dead"`` (no sample active), ``"origin"`` or ``"kink"`` (critical for no
piece); ``I``, ``J``, ``Z``: active units, active samples, samples with zero preactivation, 0-based; ``counts`` per
group of singular values; ``exists`` and ``interior`` (True, False or "unknown"); ``kinked``. Its category is
``"global"``, ``"spurious minimum"``, ``"minimum"`` (local, others not compared), ``"strict saddle"``, ``"not a local
minimum"``, ``"not stationary"`` (for L_N, though critical for its piece), ``"plateau"`` or ``"undetermined"``.
"""

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
