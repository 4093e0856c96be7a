"""Basins of attraction by Monte Carlo: where trajectories end, from what share of starts, and how surely that is known."""

from gradflow.basins.estimates import BasinEstimate as BasinEstimate
from gradflow.basins.estimates import OpenRuns as OpenRuns
from gradflow.basins.estimates import Recheck as Recheck
from gradflow.basins.estimating import estimate_basins as estimate_basins
