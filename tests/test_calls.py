"""Compiled functions of something held: one program for each form, and only those used last are kept."""

import gc
import weakref

import jax.numpy as jnp
import numpy as np
import pytest

from gradflow import calls


@pytest.fixture
def few_forms(monkeypatch):
    monkeypatch.setattr(calls, "MOST_FORMS", 3)


def test_a_form_is_compiled_once_and_again_only_after_so_many_others(few_forms):
    traced = []

    @calls.per_form
    def scaled(form, values):
        traced.append(form)
        return form * values

    for form in (1, 2, 3, 1, 2, 3):
        np.testing.assert_array_equal(scaled(form, jnp.arange(3)), form * np.arange(3))
    assert traced == [1, 2, 3]
    for form in (4, 1):  # the fourth takes the place of the one used longest ago
        scaled(form, jnp.arange(3))
    assert traced == [1, 2, 3, 4, 1]
    scaled(3, jnp.arange(3))
    assert traced == [1, 2, 3, 4, 1]


def test_what_a_dropped_form_held_is_free(few_forms):
    @calls.compiled
    def value(held, x):
        return held["function"](x)

    class Function:
        def __init__(self, power):
            self.power = power

        def __call__(self, x):
            return x**self.power

    first = Function(2)
    told = weakref.ref(first)
    assert value(calls.Context({"function": first}), jnp.array(3.0)) == 9.0
    del first
    gc.collect()
    assert told() is not None  # its program is kept
    for power in (1, 2, 3):
        value(calls.Context({"function": Function(power)}), jnp.array(3.0))
    gc.collect()
    assert told() is None


def test_forms_share_a_program_where_only_arrays_differ():
    traced = []

    @calls.compiled
    def product(held, x):
        traced.append(1)
        return held["weight"] * x

    for weight in (1.0, 2.0, 3.0):
        assert product(calls.Context({"weight": np.array(weight)}), jnp.array(2.0)) == 2.0 * weight
    assert len(traced) == 1
