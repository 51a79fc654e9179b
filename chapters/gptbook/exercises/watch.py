"""Sees which operations make a large tensor, for exercises that forbid one."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Watch(TorchDispatchMode):
    """Names the operations that compute a tensor of at least `size` numbers while it is on.

    Views of what was given are no new tensors.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.names: list[str] = []

    def __torch_dispatch__(
        self, function: Callable, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        given = {a.untyped_storage().data_ptr() for a in args if torch.is_tensor(a)}
        if torch.is_tensor(made) and made.untyped_storage().data_ptr() not in given:
            self.names += [function.__name__.split(".")[0]] if made.numel() >= self.size else []
        return made
