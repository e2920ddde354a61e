"""The two means over cases and labels, by hand and as nnU-Net has them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import sem

from nndistill.evaluation.aggregates import case_means, mean_of_cases, mean_of_labels


def table(values, metric="dice"):
    """Metrics from `{label: values over the cases}`."""
    rows = [(f"c{k}", label, value) for label, of_label in values.items() for k, value in enumerate(of_label)]
    return pd.DataFrame(rows, columns=["case", "label", metric])


def test_an_undefined_value_makes_the_two_differ():
    metrics = table({"a": [0.8, 0.4], "b": [0.6, np.nan]})
    assert mean_of_labels(metrics, "dice").value == pytest.approx((0.6 + 0.6) / 2)
    assert mean_of_cases(metrics, "dice").value == pytest.approx((0.7 + 0.4) / 2)
    assert mean_of_labels(metrics, "dice").undefined == mean_of_cases(metrics, "dice").undefined == 1


def test_without_undefined_values_both_are_one_number_with_one_error():
    values = np.random.default_rng(0).uniform(size=(3, 12))
    metrics = table(dict(zip("abc", values, strict=True)))
    for mean in (mean_of_labels(metrics, "dice"), mean_of_cases(metrics, "dice")):
        assert mean.value == pytest.approx(values.mean())
        assert mean.error == pytest.approx(sem(values.mean(axis=0)))
        assert (mean.cases, mean.undefined) == (12, 0)


def test_error_of_the_mean_of_labels_is_that_of_resampled_cases():
    values = np.random.default_rng(0).uniform(size=(2, 40))
    values[1, :15] = np.nan
    drawn = np.random.default_rng(1).integers(0, 40, (20_000, 40))
    spread = np.nanmean(values[:, drawn], axis=-1).mean(axis=0).std()
    found = mean_of_labels(table(dict(zip("ab", values, strict=True))), "dice")
    assert found.error == pytest.approx(spread, rel=0.04)


def test_overall_is_the_mean_of_the_class_means_as_in_the_paper():
    """Made numbers in the form of Table 2: class means of 60, 70, 66 and 80 percent over cases that lack classes."""
    values = {"NETC": [55, np.nan, 65], "SNFH": [60, 70, 80], "ET": [66, np.nan, np.nan], "RC": [np.nan, 85, 75]}
    assert mean_of_labels(table(values), "dice").value == pytest.approx((60 + 70 + 66 + 80) / 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_left_out_and_counted(bad):
    metrics = table({"a": [1.0, bad, 3.0], "b": [bad, bad, bad]}, "hd95_mm")
    for mean in (mean_of_labels(metrics, "hd95_mm"), mean_of_cases(metrics, "hd95_mm")):
        assert (mean.value, mean.undefined, mean.cases) == (2, 4, 2)
    assert mean_of_labels(metrics, "hd95_mm").empty_labels == ("b",)
    assert list(case_means(metrics, ["hd95_mm"])["hd95_mm"]) == pytest.approx([1, np.nan, 3], nan_ok=True)


def test_nothing_at_all_is_undefined():
    metrics = table({"a": [np.nan, np.nan]})
    for mean in (mean_of_labels(metrics, "dice"), mean_of_cases(metrics, "dice")):
        assert np.isnan(mean.value)
        assert np.isnan(mean.error)
        assert mean.cases == 0
