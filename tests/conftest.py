"""Settings every test runs under: deterministic property tests, no display, the user's single-precision default.

JAX's 64-bit mode stays off on purpose: the library must take care of precision by itself.
"""

import importlib.metadata
import os
import warnings

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of a test's time is compiling, and this takes a third off it: XLA optimises little and emits loops the older way.
# `XLA_FLAGS= ./go test` compiles as for users, and so do the pages' blocks and the newer Python in .ci/run. The flags
# are set only where they are known to exist: an unknown one ends the process.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
        "--xla_cpu_use_fusion_emitters=false",
    )

import hypothesis
import pytest

from gradflow import checks

hypothesis.settings.register_profile("gradflow", deadline=None, derandomize=True, print_blob=False)
hypothesis.settings.load_profile("gradflow")


@pytest.fixture
def quiet():
    """Lets a test use data on which a statement's hypothesis fails without naming the warning again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checks.HypothesisWarning)
        yield
