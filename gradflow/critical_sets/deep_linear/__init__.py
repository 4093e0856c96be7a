"""Critical points of deep linear networks in closed form (papers 002 and 003).

``recognise`` says what a given point has captured and whether it is strict, with care for noise; ``decompose`` takes it
apart as paper 002 does, ``describe`` as paper 003 does. ``construct`` and ``construct_by_recursion`` build points,
``enumerate_classes`` lists the finitely many classes, ``sample`` draws a member of one. ``rotate_captured``,
``add_missed``, ``outer_plane`` and ``third_order_curve`` lead down from saddles.
"""

from gradflow.critical_sets.deep_linear.construction import FAMILIES as FAMILIES
from gradflow.critical_sets.deep_linear.construction import construct as construct
from gradflow.critical_sets.deep_linear.construction import fitted_blocks as fitted_blocks
from gradflow.critical_sets.deep_linear.decomposition import CATEGORIES as CATEGORIES
from gradflow.critical_sets.deep_linear.decomposition import DeepDecomposition as DeepDecomposition
from gradflow.critical_sets.deep_linear.decomposition import Level as Level
from gradflow.critical_sets.deep_linear.decomposition import decompose as decompose
from gradflow.critical_sets.deep_linear.descent import OuterPlane as OuterPlane
from gradflow.critical_sets.deep_linear.descent import Perturbation as Perturbation
from gradflow.critical_sets.deep_linear.descent import ThirdOrderCurve as ThirdOrderCurve
from gradflow.critical_sets.deep_linear.descent import add_missed as add_missed
from gradflow.critical_sets.deep_linear.descent import outer_plane as outer_plane
from gradflow.critical_sets.deep_linear.descent import rotate_captured as rotate_captured
from gradflow.critical_sets.deep_linear.descent import third_order_curve as third_order_curve
from gradflow.critical_sets.deep_linear.enumeration import class_of as class_of
from gradflow.critical_sets.deep_linear.enumeration import enumerate_classes as enumerate_classes
from gradflow.critical_sets.deep_linear.enumeration import sample as sample
from gradflow.critical_sets.deep_linear.h2_cases import case_two_blocks as case_two_blocks
from gradflow.critical_sets.deep_linear.h2_cases import case_two_variation as case_two_variation
from gradflow.critical_sets.deep_linear.h2_cases import construct_case as construct_case
from gradflow.critical_sets.deep_linear.h2_cases import remark_3_form as remark_3_form
from gradflow.critical_sets.deep_linear.recognition import NOISE_FLOOR as NOISE_FLOOR
from gradflow.critical_sets.deep_linear.recognition import LinearCriticalPoint as LinearCriticalPoint
from gradflow.critical_sets.deep_linear.recognition import one_based as one_based
from gradflow.critical_sets.deep_linear.recognition import recognise as recognise
from gradflow.critical_sets.deep_linear.recognition import shallow_index as shallow_index
from gradflow.critical_sets.deep_linear.recursion import Recursion as Recursion
from gradflow.critical_sets.deep_linear.recursion import construct_by_recursion as construct_by_recursion
from gradflow.critical_sets.deep_linear.reduced import LearnedForm as LearnedForm
from gradflow.critical_sets.deep_linear.reduced import describe as describe
from gradflow.critical_sets.deep_linear.reduced import reduced_coordinates as reduced_coordinates
from gradflow.critical_sets.deep_linear.variation import first_variation as first_variation
from gradflow.critical_sets.deep_linear.variation import second_variation as second_variation

enumerate = enumerate_classes  # noqa: A001
