"""The moving average of the weights, against its formula."""

from __future__ import annotations

import torch
from torch import nn

from nndistill.nnunet.training.weight_average import WeightAverage


def _network() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 2, 3), nn.InstanceNorm3d(2, affine=True)).double()


def test_average_follows_its_formula():
    network, decay = _network(), 0.9
    average = WeightAverage(network, decay=decay)
    expected = [p.detach().clone() for p in network.parameters()]
    for _ in range(5):
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn_like(p))
        average.update()
        expected = [decay * e + (1 - decay) * p.detach() for e, p in zip(expected, network.parameters(), strict=True)]
    with average.applied():
        for p, e in zip(network.parameters(), expected, strict=True):
            torch.testing.assert_close(p.detach(), e)


def test_weights_are_back_after_use_also_when_it_fails():
    network = _network()
    average = WeightAverage(network, decay=0.5)
    with torch.no_grad():
        for p in network.parameters():
            p.fill_(3)
    try:
        with average.applied():
            assert not any((p == 3).all() for p in network.parameters())
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert all((p == 3).all() for p in network.parameters())


def test_restart_forgets_the_past():
    network = _network()
    average = WeightAverage(network, decay=0.5)
    with torch.no_grad():
        for p in network.parameters():
            p.fill_(3)
    average.restart()
    with average.applied():
        assert all((p == 3).all() for p in network.parameters())
