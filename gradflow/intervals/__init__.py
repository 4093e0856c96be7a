"""Statistics of basin fractions: counts in, limits out, each with what it assumes and how surely it holds.

Independent samples of a fixed number: `proportions` (per class, all classes, one-sided, undetermined withheld or
added), `discovered` (classes found by the samples themselves), `unseen` (classes never found), `planning` (how many
samples). Looking meanwhile: `sequential`. Points that are not independent: `replicates`. Two settings on the same
starts: `pairs`. Words: `wording`. Whether all this is true: `calibration`.

Knows nothing of flows, labels' meanings or files.
"""

from gradflow.intervals.calibration import Coverage as Coverage
from gradflow.intervals.calibration import coverage as coverage
from gradflow.intervals.calibration import exact_coverage as exact_coverage
from gradflow.intervals.calibration import looking_coverage as looking_coverage
from gradflow.intervals.discovered import discovered_intervals as discovered_intervals
from gradflow.intervals.pairs import PairedComparison as PairedComparison
from gradflow.intervals.pairs import compare_paired as compare_paired
from gradflow.intervals.pairs import paired_differences as paired_differences
from gradflow.intervals.planning import Look as Look
from gradflow.intervals.planning import look as look
from gradflow.intervals.planning import samples_for_half_width as samples_for_half_width
from gradflow.intervals.planning import samples_to_see as samples_to_see
from gradflow.intervals.proportions import Envelopes as Envelopes
from gradflow.intervals.proportions import envelopes as envelopes
from gradflow.intervals.proportions import lower_bounds as lower_bounds
from gradflow.intervals.proportions import proportion_intervals as proportion_intervals
from gradflow.intervals.proportions import rule_of_three as rule_of_three
from gradflow.intervals.proportions import simultaneous_intervals as simultaneous_intervals
from gradflow.intervals.proportions import upper_bounds as upper_bounds
from gradflow.intervals.replicates import ReplicatedIntervals as ReplicatedIntervals
from gradflow.intervals.replicates import replicated_intervals as replicated_intervals
from gradflow.intervals.replicates import stratified_intervals as stratified_intervals
from gradflow.intervals.results import Intervals as Intervals
from gradflow.intervals.sequential import confidence_sequences as confidence_sequences
from gradflow.intervals.unseen import UnseenMass as UnseenMass
from gradflow.intervals.unseen import smallest_class_surely_seen as smallest_class_surely_seen
from gradflow.intervals.unseen import unseen_mass as unseen_mass
from gradflow.intervals.unseen import unseen_mass_by_holdout as unseen_mass_by_holdout
from gradflow.intervals.wording import rounded_down as rounded_down
from gradflow.intervals.wording import rounded_up as rounded_up
from gradflow.intervals.wording import worded_fraction as worded_fraction
