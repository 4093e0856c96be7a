"""Basins of attraction by Monte Carlo: where trajectories end, from what share of starts, and how surely."""

from gradflow.basins.comparing import compare_basins as compare_basins
from gradflow.basins.continuing import continue_undecided as continue_undecided
from gradflow.basins.estimates import BasinEstimate as BasinEstimate
from gradflow.basins.estimates import OpenRuns as OpenRuns
from gradflow.basins.estimates import Recheck as Recheck
from gradflow.basins.estimating import estimate_basins as estimate_basins
