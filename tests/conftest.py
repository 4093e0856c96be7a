"""Settings every test runs under: deterministic property tests, no display, the user's single-precision default.

JAX's 64-bit mode stays off on purpose: the library must take care of precision by itself.
"""

import os
import warnings

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

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
