"""The running validation Dice, through nnU-Net's own loggers: epochs without any foreground do not end it."""

from __future__ import annotations

from math import nan

import numpy as np
import pytest
from nnunetv2.training.logging.nnunet_logger import LocalLogger, MetaLogger

from nndistill.nnunet.training.log import RecipeLoggers


@pytest.mark.parametrize(
    ("dice", "running"),
    [
        ([0.5, 0.6], [0.5, 0.51]),
        ([0.5, nan, 0.6], [0.5, 0.5, 0.51]),
        ([nan, nan, 0.4, 0.5], [nan, nan, 0.4, 0.41]),
        ([nan], [nan]),
    ],
)
def test_the_running_dice_is_that_of_the_epochs_that_have_one(tmp_path, dice, running) -> None:
    stock, tracker = MetaLogger(str(tmp_path), resume=False), LocalLogger()
    stock.loggers.append(tracker)
    logger = RecipeLoggers(stock)
    for epoch, value in enumerate(dice):
        logger.log("mean_fg_dice", value, epoch)
    for seen in (logger, tracker):
        np.testing.assert_allclose(seen.get_value("ema_fg_dice", step=None), running)
        np.testing.assert_equal(seen.get_value("mean_fg_dice", step=None), dice)
