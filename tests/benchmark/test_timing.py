"""Repeated measurements: ratios, their spread, and how many rounds there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nndistill.benchmark.timing import Timing, rounds_that_fit, without_warm_up

SECONDS = st.floats(1e-3, 1e4)
ROUNDS = st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=9)


def test_speed_is_the_ratio_of_medians_and_its_spread_that_of_the_rounds() -> None:
    speed = Timing((2.0, 1.0, 10.0)).speed(Timing((8.0, 9.0, 10.0)))
    assert (speed.ratio, speed.least, speed.greatest) == (4.5, 1.0, 9.0)


def test_spread_is_of_all_pairs_where_one_had_fewer_rounds() -> None:
    speed = Timing((2.0, 1.0, 4.0)).speed(Timing((8.0,)))
    assert (speed.ratio, speed.least, speed.greatest) == (4.0, 2.0, 8.0)


@given(ROUNDS, st.integers(0, 8))
def test_ratio_of_medians_lies_within_the_spread(rounds, fewer) -> None:
    own, base = zip(*rounds, strict=True)
    speed = Timing(own[fewer:] or own).speed(Timing(base))
    assert speed.least * (1 - 1e-9) <= speed.ratio <= speed.greatest * (1 + 1e-9)


@given(SECONDS, st.integers(0, 20), st.floats(0, 1e4))
def test_as_many_rounds_as_the_budget_holds_and_no_more(first, rounds, budget) -> None:
    further = rounds_that_fit(first, rounds=rounds, budget=budget)
    assert 0 <= further <= rounds
    assert further == 0 or (1 + further) * first <= budget * (1 + 1e-9)
    assert further == rounds or (2 + further) * first > budget * (1 - 1e-9)


@pytest.mark.parametrize(("seconds", "counted"), [((9.0, 1.0, 2.0), (1.0, 2.0)), ((9.0,), (9.0,))])
def test_the_round_that_warms_up_counts_only_where_it_is_alone(seconds, counted) -> None:
    assert without_warm_up(seconds).seconds == counted
