"""How a reader's function is called: on copies, watched, and with every error caught."""

import copy
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gptbook.exercises.forbid import Forbidden, Forbidding


class NotYet(Exception):
    """Raised in a check: the message is the hint."""


class NotAttempted(Exception):
    """Raised in a check: the answer is still the stub."""


@dataclass
class Raised:
    """What a call came to if it was an error."""

    error: BaseException
    line: int = 0  # in the cell of the function, 0 if unknown


def attempt(function: Callable, given: Sequence[Any], forbidden: Sequence[Any] = ()) -> Any:
    """Return the function's value, or `Raised`; `NotYet` if it uses what is forbidden."""
    watch = Forbidding(*forbidden) if forbidden else None
    value: Any = None
    try:
        with watch or nullcontext():
            value = function(*given)
    except (Exception, SystemExit, Forbidden) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)]
        value = Raised(error, lines[1] if len(lines) > 1 else 0)
    if watch and watch.found:
        name = getattr(function, "__name__", "the function")
        raise NotYet(
            f"{name} uses {watch.found}, which is not allowed in this exercise: "
            "write yourself what it does."
        )
    if value is ...:
        raise NotAttempted
    return value


def copied(arguments: tuple) -> tuple:
    """Deep copies; a generator of random numbers goes on from the same state."""
    return tuple(
        a.clone_state() if isinstance(a, torch.Generator) else copy.deepcopy(a) for a in arguments
    )


def identical(a: Any, b: Any) -> bool:
    """True if two arguments of a check are equal, also where they are or hold tensors."""
    if isinstance(a, Tensor):
        same_form = isinstance(b, Tensor) and a.shape == b.shape and a.dtype == b.dtype
        return same_form and torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(identical, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(identical(a[key], b[key]) for key in a)
    if isinstance(a, nn.Module):
        return identical(dict(a.state_dict()), dict(b.state_dict()))
    if type(a).__eq__ is object.__eq__ and hasattr(a, "__dict__"):
        return vars(a) is vars(b) or identical(vars(a), vars(b))
    return isinstance(a, torch.Generator) or a == b or a != a
