"""Critical points of shallow linear networks with paper 001's balancing regulariser, in closed form.

``construct`` gives a member of a class, ``decompose`` reads the class off a state, ``enumerate`` lists the classes with
loss, category, Morse index and nullity, ``sample`` draws a member. Further: directions of negative curvature, the
Hessian by hand, the balanced surrogate of a state of the plain loss, and what a small gradient says of the balance. All
but the last take ``Regression(Linear((d_0, d_1, d_2)), X, Y, regularizer=Balance(mu, X))``, or ``Balance(mu)`` with X
of full row rank.
"""

from gradflow.critical_sets.balanced.construction import construct as construct
from gradflow.critical_sets.balanced.defects import Imbalance as Imbalance
from gradflow.critical_sets.balanced.defects import imbalance as imbalance
from gradflow.critical_sets.balanced.descent import DescentDirection as DescentDirection
from gradflow.critical_sets.balanced.descent import descent_direction as descent_direction
from gradflow.critical_sets.balanced.descent import kernel_direction as kernel_direction
from gradflow.critical_sets.balanced.descent import lemma_direction as lemma_direction
from gradflow.critical_sets.balanced.descent import pair_bound as pair_bound
from gradflow.critical_sets.balanced.descent import pair_direction as pair_direction
from gradflow.critical_sets.balanced.descent import saddle_bound as saddle_bound
from gradflow.critical_sets.balanced.enumeration import describe as describe
from gradflow.critical_sets.balanced.enumeration import enumerate_classes as enumerate_classes
from gradflow.critical_sets.balanced.enumeration import global_value as global_value
from gradflow.critical_sets.balanced.recognition import BalancedPoint as BalancedPoint
from gradflow.critical_sets.balanced.recognition import decompose as decompose
from gradflow.critical_sets.balanced.sampling import random_member as random_member
from gradflow.critical_sets.balanced.sampling import sample as sample
from gradflow.critical_sets.balanced.second_order import hessian as hessian
from gradflow.critical_sets.balanced.second_order import quadratic_form as quadratic_form
from gradflow.critical_sets.balanced.surrogates import Surrogate as Surrogate
from gradflow.critical_sets.balanced.surrogates import surrogate as surrogate

enumerate = enumerate_classes  # noqa: A001
