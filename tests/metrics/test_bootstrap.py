from __future__ import annotations

import math

import numpy as np
import pytest

from custom.metrics.bootstrap import bootstrap_interval, paired_bootstrap_interval

NAN = float("nan")


def test_interval_is_close_to_the_normal_one_for_many_values():
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_wider_confidence_gives_a_wider_interval():
    values = np.arange(50.0)
    low, high = bootstrap_interval(values, confidence=0.8)
    wider_low, wider_high = bootstrap_interval(values, confidence=0.99)
    assert wider_low < low < high < wider_high


def test_equal_values_give_a_point():
    assert bootstrap_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


def test_nan_is_ignored():
    assert bootstrap_interval([1.0, NAN, 2.0, 4.0]) == bootstrap_interval([1.0, 2.0, 4.0])


def test_one_value_gives_a_point():
    assert bootstrap_interval([0.25, NAN]) == (0.25, 0.25)


@pytest.mark.parametrize(("images", "resamples"), [(7, 2000), (3000, 500)])
def test_the_interval_is_the_quantiles_of_means_of_drawn_images(images, resamples):
    """The bits of published reports: NumPy's draws of a seed, one image after the other."""
    values = np.sort(np.random.default_rng(9).random(images))
    means = np.random.default_rng(2).choice(values, (resamples, images)).mean(axis=1)
    low, high = np.quantile(means, [0.05, 0.95])
    assert bootstrap_interval(values, 0.9, resamples, seed=2) == (low, high)


def test_no_values_give_nan():
    assert all(math.isnan(bound) for bound in bootstrap_interval([NAN]))


def test_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random(30)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_large_test_sets_are_resampled_in_portions():
    values = np.random.default_rng(0).normal(0, 1, 3000)  # more than a million draws
    low, high = bootstrap_interval(values)
    assert (high - low) / 2 == pytest.approx(1.96 / math.sqrt(3000), rel=0.1)


def test_order_of_the_images_has_no_influence():
    values = np.random.default_rng(0).random(30)
    assert bootstrap_interval(values) == bootstrap_interval(values[::-1])


def test_confidence_in_per_cent_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap_interval([1.0], confidence=95)


def test_constant_gain_over_varying_images_is_certain():
    b = np.random.default_rng(0).random(30)
    low, high = paired_bootstrap_interval(b + 0.01, b)
    assert low == pytest.approx(0.01) and high == pytest.approx(0.01)


def test_pair_with_a_nan_is_ignored():
    assert paired_bootstrap_interval([3.0, NAN, 9.0], [1.0, 5.0, NAN]) == (2.0, 2.0)


def test_different_numbers_of_images_are_refused():
    with pytest.raises(ValueError, match="same images"):
        paired_bootstrap_interval([1.0, 2.0], [1.0])
