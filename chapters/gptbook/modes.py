"""States that a model can be in: in evaluation for a while, and compiled."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put `model` into evaluation mode for the code inside, whatever that code does.

    Afterwards every submodule is in the mode that it was in: a part that somebody froze in
    evaluation mode stays there, also in a model that is in training.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def unwrapped(model: Any) -> Any:
    """The model itself, where torch.compile has wrapped it: so its parts have their own names."""
    return getattr(model, "_orig_mod", model)
