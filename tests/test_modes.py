"""Models in evaluation mode, and compiled ones."""

import pytest
import torch
from torch import nn

from gptbook.modes import evaluating, unwrapped


def test_each_part_gets_its_own_mode_back_also_after_an_error():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(), nn.Dropout()))
    model[1][0].eval()
    modes = [module.training for module in model.modules()]

    def fail():
        with evaluating(model):
            assert not any(module.training for module in model.modules())
            model[0].train()  # what happens inside does not stay
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (
        [module.training for module in model.modules()] == modes == [True, True, True, False, True]
    )


def test_unwrapped():
    model = nn.Linear(2, 2)
    assert unwrapped(torch.compile(model, backend="eager")) is model
    assert unwrapped(model) is model
