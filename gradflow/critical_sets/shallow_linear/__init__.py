"""Critical points of linear networks with one hidden layer in closed form (paper 002, section 2).

``construct`` gives the point with chosen captured directions, ``decompose`` reads them off a given point,
``enumerate`` lists the classes with loss, category, Morse index and nullity, ``sample`` draws a member. Further:
perturbations with the exact change of the loss, and proofs of strictness. All take a
:class:`~gradflow.problem.Regression` on a linear network with one hidden layer, the squared error and no regulariser;
any X, Y and widths.
"""

from gradflow.critical_sets.shallow_linear.classes import count_classes as count_classes
from gradflow.critical_sets.shallow_linear.classes import critical_class as critical_class
from gradflow.critical_sets.shallow_linear.classes import enumerate_classes as enumerate_classes
from gradflow.critical_sets.shallow_linear.classes import iterate_classes as iterate_classes
from gradflow.critical_sets.shallow_linear.classes import nullity as nullity
from gradflow.critical_sets.shallow_linear.classes import nullity_range as nullity_range
from gradflow.critical_sets.shallow_linear.construction import AnalyticalForm as AnalyticalForm
from gradflow.critical_sets.shallow_linear.construction import analytical_form as analytical_form
from gradflow.critical_sets.shallow_linear.construction import condition_three as condition_three
from gradflow.critical_sets.shallow_linear.construction import construct as construct
from gradflow.critical_sets.shallow_linear.construction import spectrum_of as spectrum_of
from gradflow.critical_sets.shallow_linear.construction import weights_of as weights_of
from gradflow.critical_sets.shallow_linear.patterns import Capture as Capture
from gradflow.critical_sets.shallow_linear.patterns import Recovery as Recovery
from gradflow.critical_sets.shallow_linear.patterns import admissible_offset as admissible_offset
from gradflow.critical_sets.shallow_linear.patterns import annihilator as annihilator
from gradflow.critical_sets.shallow_linear.patterns import capture as capture
from gradflow.critical_sets.shallow_linear.patterns import recover_pattern as recover_pattern
from gradflow.critical_sets.shallow_linear.perturbations import Perturbation as Perturbation
from gradflow.critical_sets.shallow_linear.perturbations import ascent as ascent
from gradflow.critical_sets.shallow_linear.perturbations import best_second_step as best_second_step
from gradflow.critical_sets.shallow_linear.perturbations import descent as descent
from gradflow.critical_sets.shallow_linear.perturbations import rank_increasing_descent as rank_increasing_descent
from gradflow.critical_sets.shallow_linear.perturbations import rank_preserving_descent as rank_preserving_descent
from gradflow.critical_sets.shallow_linear.recognition import Decomposition as Decomposition
from gradflow.critical_sets.shallow_linear.recognition import decompose as decompose
from gradflow.critical_sets.shallow_linear.sampling import sample as sample
from gradflow.critical_sets.shallow_linear.spectrum import DataSpectrum as DataSpectrum
from gradflow.critical_sets.shallow_linear.spectrum import data_spectrum as data_spectrum
from gradflow.critical_sets.shallow_linear.strictness import StrictnessCertificate as StrictnessCertificate
from gradflow.critical_sets.shallow_linear.strictness import certificate_of_form as certificate_of_form
from gradflow.critical_sets.shallow_linear.strictness import strictness_certificate as strictness_certificate

enumerate = enumerate_classes  # noqa: A001
