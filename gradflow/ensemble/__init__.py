"""Ensembles: many trajectories at once, each to its own end, at the speed of the machine.

`native` writes a flow's field and its adaptive steps as machine code for vectors of trajectories; `xla` does the same
with JAX's compiler, for other devices and other operations. Either knows fields and steps, and nothing of what is at an
end.
"""

from gradflow.ensemble.batches import Ends as Ends
from gradflow.ensemble.batches import Ensemble as Ensemble
from gradflow.ensemble.batches import EnsembleResult as EnsembleResult
from gradflow.ensemble.batches import gradient_level as gradient_level
from gradflow.ensemble.batches import integrate_ensemble as integrate_ensemble
from gradflow.ensemble.batches import plain_orders as plain_orders
from gradflow.ensemble.batches import shared_settings as shared_settings
