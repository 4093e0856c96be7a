"""Far out on tanh, where the gradient drowns in its rounding: nothing there is a minimum, isolated or not.

Between -17 and -19 the loss tanh(x) is -1 to the last bits. Its derivative there is rounding and its second derivative
too, so refinement may find critical points; where they are depends on how tanh is computed.
"""

import jax.numpy as jnp
import numpy as np

import gradflow as gf
from gradflow.naming import examine, namer_for, settle

TANH = gf.Landscape(lambda p: jnp.tanh(p[0]))


def test_a_curvature_along_which_the_gradient_is_hidden_counts_as_none():
    found = examine(TANH, np.linspace(-17.6, -16.9, 701)[:, None])
    assert found.is_critical.any()
    assert np.all(found.nullity[found.is_critical] == 1)


def test_a_single_state_is_judged_likewise():
    points = [gf.classify(TANH, np.array([x])) for x in np.linspace(-17.6, -17.0, 31)]
    assert {point.kind for point in points} == {"not_critical", "degenerate"}
    assert {point.nullity for point in points if point.kind == "degenerate"} == {1}


def test_a_flat_state_that_moves_is_not_on_a_continuum():
    namer = namer_for(gf.GradientFlow(TANH))
    labels = []
    for x in np.linspace(-17.70, -17.30, 41):
        names = namer.names(np.array([[x]]))
        labels += [*names.labels, *settle(TANH, np.zeros(1), names.groups).labels]
    assert len(labels) == 41
    assert not any(label.is_decided for label in labels)
