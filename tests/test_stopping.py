"""The stop test as a state machine: what one look at the Hessian decides, without any solver."""

import dataclasses
import math

import pytest

from gradflow.stopping import FIRST_DWELL, PATIENCE, Look, Watch

QUIET = Look(
    time=10.0,
    loss=0.5,
    grad_norm=1e-7,
    scale=1.0,
    noise=1e-15,
    size=1.0,
    lowest=0.1,
    highest=2.0,
    resolution=1e-6,
    distance=1e-12,
    creep=1e-12,
)


def _look(**changes):
    return dataclasses.replace(QUIET, **changes)


@pytest.fixture
def watch():
    return Watch(quiet_below=1e-6, first=1e-6, rtol=1e-8, atol=1e-10, fixed=False)


def test_a_near_limit_with_nonnegative_curvature_is_the_end(watch):
    assert watch.look(QUIET).ended


@pytest.mark.parametrize(("distance", "fall"), [(1.5e-8, 10), (4.04e-7, 40), (1e-3, 1000), (math.inf, 10)])
def test_a_far_limit_lowers_the_level_to_where_it_may_be_near(watch, distance, fall):
    later = watch.look(_look(distance=distance))
    assert not later.ended
    assert later.quiet_below == pytest.approx(1e-7 / fall, rel=1e-12, abs=0.0)


def test_creeping_along_a_flat_valley_is_not_an_end(watch):
    assert not watch.look(_look(creep=0.25)).ended


def test_creeping_at_rounding_level_is_not_an_end_either(watch):
    assert not watch.look(_look(grad_norm=1e-15, creep=0.25)).ended


def test_where_rounding_hides_a_smaller_gradient_more_and_more_steps_are_waited(watch):
    once = watch.look(_look(grad_norm=2e-15, distance=1e-3))
    assert once.quiet_below == pytest.approx(2e-14) and once.quiet_steps == 2 * watch.quiet_steps
    assert once.look(_look(grad_norm=2e-15, distance=1e-3)).quiet_steps == 4 * watch.quiet_steps


def test_a_negative_eigenvalue_is_passed_with_its_step_resolved(watch):
    passing = watch.look(_look(lowest=-0.5))
    assert passing.is_passing and not passing.ended
    assert passing.max_step == pytest.approx(1.0)
    assert passing.loud_above == pytest.approx(1e-5)


def test_a_negative_eigenvalue_that_the_distance_explains_is_no_saddle(watch):
    later = watch.look(_look(lowest=-1e-6, distance=1e-6, creep=1e-6))
    assert not later.is_passing


def test_leaving_records_the_passage_and_starts_anew(watch):
    left = watch.look(_look(lowest=-0.5, offset=1e-3)).leave(30.0)
    assert not left.is_passing and left.quiet_below == watch.first
    (passage,) = left.passages
    assert (passage.start, passage.end, passage.lowest_eigenvalue) == (10.0, 30.0, -0.5)
    assert passage.is_resolved is True


def test_an_offset_below_the_tolerance_is_not_resolved(watch):
    assert watch.look(_look(lowest=-0.5, offset=1e-9)).leave(30.0).passages[0].is_resolved is False
    assert watch.look(_look(lowest=-0.5)).leave(30.0).passages[0].is_resolved is None


def test_patience_ends_at_a_saddle(watch):
    passing = watch.look(_look(lowest=-0.5))
    assert not passing.look(_look(lowest=-0.5, time=10.0 + 1.9 * PATIENCE)).ended
    ended = passing.look(_look(lowest=-0.5, time=10.0 + 2.1 * PATIENCE))
    assert ended.ended and ended.finish()[-1].end is None


def test_patience_does_not_end_at_a_saddle_that_is_being_left(watch):
    passing = watch.look(_look(lowest=-0.5, offset=1e-6))
    late = _look(lowest=-0.5, time=10.0 + 2.1 * PATIENCE, offset=1e-4)
    assert not passing.look(late).ended
    assert passing.look(dataclasses.replace(late, offset=1e-9)).ended


def test_a_degenerate_saddle_is_reached_when_the_gradient_has_all_but_vanished(watch):
    flat = _look(lowest=-1e-7, highest=1e-7, distance=1e-9, grad_norm=1e-13)
    steep = dataclasses.replace(watch, largest_radius=1.0)
    assert steep.look(flat).ended
    assert not steep.look(dataclasses.replace(flat, grad_norm=1e-9)).ended
    assert not watch.look(flat).ended


def test_a_gradient_of_exactly_zero_is_the_end_whatever_the_curvature(watch):
    assert watch.look(_look(grad_norm=0.0, lowest=-1.0)).ended


def test_a_saddle_that_turns_out_to_be_none_ends_its_passage(watch):
    passing = watch.look(_look(lowest=-0.5))
    ended = passing.look(_look(time=12.0))
    assert ended.ended and ended.passages[0].end == 12.0


def test_a_level_of_the_user_is_enough(watch):
    fixed = dataclasses.replace(watch, fixed=True)
    assert fixed.look(_look(distance=1.0, creep=1.0)).ended
    assert not fixed.look(_look(lowest=-1.0)).ended


def test_a_passed_point_is_looked_at_again_when_the_gradient_has_changed_or_after_a_while(watch):
    passing = watch.look(_look(lowest=-0.5, grad_norm=1e-8))
    assert not passing.is_due(11.0, 5e-8)
    assert passing.is_due(11.0, 5e-10) and passing.is_due(11.0, 2e-7) and passing.is_due(11.0, 0.0)
    assert passing.is_due(10.0 + 2 * FIRST_DWELL / 0.5, 1e-8)


def test_a_look_in_passing_ends_or_does_nothing(watch):
    assert watch.look_in_passing(QUIET).ended
    for look in (_look(distance=1.0), _look(lowest=-0.5)):
        assert watch.look_in_passing(look) == watch
    assert not dataclasses.replace(watch, fixed=True).look_in_passing(QUIET).ended


def test_a_minimum_of_gradient_zero_closes_the_passage_before_it(watch):
    ended = watch.look(_look(lowest=-0.5)).look(_look(time=50.0, grad_norm=0.0))
    assert ended.ended and [passage.end for passage in ended.finish()] == [50.0]


def test_however_loose_the_tolerance_the_end_is_near_the_limit(watch):
    loose = dataclasses.replace(watch, rtol=0.2)
    assert not loose.look(_look(distance=1e-3)).ended
    assert loose.look(_look(distance=1e-5)).ended


def test_no_level_below_what_rounding_allows_is_waited_for(watch):
    later = watch.look(_look(grad_norm=1e-13, noise=5e-15, distance=1e-3))
    assert later.quiet_below == pytest.approx(1e-14, rel=1e-12, abs=0.0)
