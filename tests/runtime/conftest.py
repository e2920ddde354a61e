"""What tests of prediction share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def nnunet_sums_in_single(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision, in which nnU-Net sums windows, decides between logits of an untrained network by chance."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    method = "_internal_predict_sliding_window_return_logits"
    predict = getattr(nnUNetPredictor, method)

    def predict_in_single(*arguments, **options):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "half", torch.float32)
            return predict(*arguments, **options)

    monkeypatch.setattr(nnUNetPredictor, method, predict_in_single)
