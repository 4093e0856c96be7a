"""Global minimisers in closed form of three networks with square layers, one module each (paper 000, section 2).

``linear``, ``residual`` and ``one_hidden_layer`` each give ``construct`` (from free parameters), ``decompose``
(recognise a state and recover them), ``sample`` and ``enumerate_classes`` (there is one).
"""

from gradflow.critical_sets.minimisers import linear as linear
from gradflow.critical_sets.minimisers import one_hidden_layer as one_hidden_layer
from gradflow.critical_sets.minimisers import residual as residual
from gradflow.critical_sets.minimisers.linear import LinearMinimiser as LinearMinimiser
from gradflow.critical_sets.minimisers.one_hidden_layer import HiddenLayerMinimiser as HiddenLayerMinimiser
from gradflow.critical_sets.minimisers.one_hidden_layer import Preimage as Preimage
from gradflow.critical_sets.minimisers.recognition import OUTCOMES as OUTCOMES
from gradflow.critical_sets.minimisers.residual import ResidualMinimiser as ResidualMinimiser
