"""A combination is the weighted sum of its parts, and needs what any of them needs."""

from __future__ import annotations

import pytest
import torch

from activations import labels, of_network
from nndistill.errors import UnknownName, UserError
from nndistill.methods import Combination, build_method

CHANNELS = {"student_channels": [2, 4], "teacher_channels": [4, 8]}


def test_loss_is_the_weighted_sum_of_the_parts():
    method = build_method("dcd+logits+ifvd", weights=[1, 2, 0.5], **CHANNELS).double()
    student, teacher, target = of_network([2, 4]), of_network([4, 8], seed=5), labels(3, space=(8, 8, 8))
    dcd, logits, ifvd = (part(student, teacher, target) for part in method.parts.values())
    torch.testing.assert_close(method(student, teacher, target), dcd + 2 * logits + 0.5 * ifvd)


def test_weights_are_those_of_the_sources_where_none_are_given():
    method = build_method("feature+cwd", **CHANNELS).double()
    student, teacher = of_network([2, 4]), of_network([4, 8], seed=5)
    feature, cwd = (part(student, teacher) for part in method.parts.values())
    torch.testing.assert_close(method(student, teacher), 0.05 * feature + 3 * cwd)
    assert method.source_weight == 1


def test_part_without_a_source_weight_counts_once_and_leaves_the_combination_without_one():
    method = build_method("cwd+logits", **{"cwd.match": "encoder"}, **CHANNELS)
    assert method.named_weights == {"cwd": 50, "logits": 1}
    assert method.source_weight is None
    assert build_method("cwd+logits", weights=[1, 2], **CHANNELS).source_weight == 1


def test_needs_are_those_of_all_parts():
    assert build_method("dcd+ifvd", **CHANNELS).needs == {"encoder", "decoder"}
    assert build_method("dcd+cwd", **CHANNELS).needs == {"encoder", "logits"}
    assert build_method("dcd+cwd", **{"cwd.match": "encoder"}, **CHANNELS).needs == {"encoder"}


def test_options_go_to_the_part_they_name():
    method = build_method("dcd+cwd", **{"dcd.level": 2, "cwd.temperature": 3}, **CHANNELS)
    assert method.parts["dcd"].projection.filter.level == 2
    assert method.parts["cwd"].temperature == 3


def test_projections_of_the_parts_are_trained_and_saved():
    method = build_method("dcd+feature", **CHANNELS)
    assert {name.split(".phi")[0] for name, _ in method.named_parameters()} == {"parts.dcd", "parts.feature"}
    again = build_method("dcd+feature", **CHANNELS)
    again.load_state_dict(method.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(method.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [1, -1], [1, "2"], "12", 3, [1, float("nan")], [True, 1]])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(UserError, match=r"do not fit dcd\+logits: give 2 numbers"):
        build_method("dcd+logits", weights=weights, **CHANNELS)


def test_mistakes_in_names_are_told_in_a_sentence():
    with pytest.raises(UnknownName, match="Did you mean 'logits'"):
        build_method("dcd+logit", **CHANNELS)
    with pytest.raises(UserError, match="names dcd more than once"):
        build_method("dcd+dcd", **CHANNELS)
    with pytest.raises(UnknownName, match=r"option of method 'dcd\+logits' 'dcd.levl'. Did you mean 'dcd.level'"):
        build_method("dcd+logits", **{"dcd.levl": 2}, **CHANNELS)
    with pytest.raises(UnknownName, match=r"Did you mean 'dcd.level'"):
        build_method("dcd+logits", level=2, **CHANNELS)
    with pytest.raises(UnknownName, match="no option of method 'dcd' 'weights'"):
        build_method("dcd", weights=[1], **CHANNELS)


def test_parts_can_be_built_by_hand():
    parts = {name: build_method(name, **CHANNELS) for name in ("logits", "at")}
    assert Combination(parts, weights=(1, 100)).weights == [1, 100]
