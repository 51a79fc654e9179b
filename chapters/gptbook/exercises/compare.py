"""Is what an answer returned what was expected? And if not, where is the first difference?"""

import math
import numbers
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import torch
from torch import Tensor, nn

from gptbook.exercises.wording import kind, number, show, whole

Same = Callable[[Any, Any], bool]
_NUMBERS = "`.tolist()` makes Python numbers of a tensor, and `.item()` makes one of it."


def is_number(value: Any) -> bool:
    """True for what can stand for a float: a Python or NumPy number, or a tensor without axes."""
    if isinstance(value, Tensor):
        return type(value) in (Tensor, nn.Parameter) and value.dim() == 0 and _sort(value) != "bool"
    return isinstance(value, (numbers.Real, Decimal)) and not isinstance(value, bool)


def _sort(tensor: Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "bool"
    return "float" if tensor.is_floating_point() or tensor.is_complex() else "int"


def _has_type(got: Any, wanted: Any, loose: bool) -> bool:
    if isinstance(wanted, Tensor):
        return type(got) in (Tensor, nn.Parameter)
    if type(wanted) is float:
        return is_number(got)
    if type(wanted) is tuple:
        return isinstance(got, tuple) or (loose and type(got) is list)
    if type(wanted) is dict:
        return type(got) in (dict, Counter, OrderedDict, defaultdict)
    return type(got) is type(wanted)


def mistyped(got: Any, wanted: Any, loose: bool = False, path: str = "") -> str:
    """A sentence about the first thing in `got` that has the wrong type, or "".

    Types are strict: True is no int, an int no bool, and a tensor without axes no int. Only a float
    may come in any form that `is_number`. With `loose`, a list may stand for a tuple.

    >>> mistyped(True, 1), mistyped(torch.tensor(1.5), 1.5)
    ('Return type int, not bool.', '')
    """
    if not _has_type(got, wanted, loose):
        name, other = type(wanted).__name__, type(got).__name__
        if name == "float" and isinstance(got, Tensor):
            other = f"a tensor of shape {tuple(got.shape)}"
        tip = _NUMBERS if isinstance(got, Tensor) and not isinstance(wanted, Tensor) else ""
        start = f"At {path}, the type should be {name}" if path else f"Return type {name}"
        return f"{start}, not {other}. {tip}".strip()
    if isinstance(wanted, Tensor) and _sort(got) != _sort(wanted):
        where = f" at {path}" if path else ""
        return f"The tensor{where} has the dtype {got.dtype}; expected {wanted.dtype}."
    pairs: list = []
    if isinstance(wanted, (list, tuple)):
        pairs = [(f"{path}[{i}]", *pair) for i, pair in enumerate(zip(got, wanted, strict=False))]
    if isinstance(wanted, dict):
        pairs = [(f"{path}[{show(key)}]", got[key], wanted[key]) for key in wanted if key in got]
    if isinstance(wanted, (set, frozenset, dict)) and wanted:
        allowed = {type(item) for item in wanted}
        odd = [item for item in got if type(item) not in allowed]
        pairs += [(f"{show(item)}", item, next(iter(wanted))) for item in odd]
    return next((text for where, a, b in pairs if (text := mistyped(a, b, loose, where))), "")


def plain(got: Any, wanted: Any) -> Any:
    """`got`, whose type is right, with floats as Python's floats, and dicts and tuples as such."""
    if type(wanted) is float:
        return got.detach().item() if isinstance(got, Tensor) else float(got)
    if isinstance(wanted, (list, tuple)):
        rest = list(got)[len(wanted) :]
        return type(wanted)([*map(plain, got, wanted), *rest])
    if type(wanted) is dict:
        return {k: plain(v, wanted[k]) if k in wanted else v for k, v in got.items()}
    return got


def equal(got: Any, wanted: Any) -> bool:
    """True if two plain values are equal; tensors by dtype, shape and every number."""
    if isinstance(wanted, Tensor):
        return got.dtype == wanted.dtype and torch.equal(got, wanted)
    if isinstance(wanted, (list, tuple)):
        return len(got) == len(wanted) and all(map(equal, got, wanted))
    if type(wanted) is dict:
        return got.keys() == wanted.keys() and all(equal(got[key], wanted[key]) for key in wanted)
    return got == wanted


def agrees(got: Any, wanted: Any, same: Same | None = None) -> bool:
    """True if `got` is of the right type and the same as `wanted`; never raises."""
    try:
        if mistyped(got, wanted, loose=same is not None):
            return False
        return bool((same or equal)(plain(got, wanted), wanted))
    except Exception:
        return False  # got is of a kind that cannot be compared


def close(got: Any, wanted: float, tolerance: float = 1e-6) -> bool:
    """True if two numbers agree to `tolerance`, relative to `wanted` or, if that is less, to 1."""
    return bool(abs(got - wanted) <= tolerance * max(1.0, abs(wanted)))


def exactly(got: Any, wanted: int) -> bool:
    """True if two numbers are equal and `got` is a whole one, not a float or a truth value."""
    return type(got) is int and got == wanted


def alike(got: Any, wanted: Any) -> bool:
    """True if two tensors, or tuples of them, have the same shapes and numbers, up to rounding.

    Truth values and whole numbers must be equal, and of that kind; nan is like nothing.
    """
    if isinstance(wanted, (tuple, list)):
        return len(got) == len(wanted) and all(map(alike, got, wanted))
    if _sort(wanted) != "float" or _sort(got) != "float":
        return _sort(got) == _sort(wanted) and torch.equal(got, wanted.to(got.dtype))
    return got.shape == wanted.shape and torch.allclose(got.float(), wanted.float(), atol=1e-5)


def nan_marked(value: Any) -> Any:
    """`value` with a number in the place of each nan, so that nan compares equal to nan."""
    if isinstance(value, Tensor) and _sort(value) == "float":
        return torch.nan_to_num(value.detach(), nan=-987654.0, posinf=math.inf, neginf=-math.inf)
    if isinstance(value, float) and math.isnan(value):
        return -987654.0
    if type(value) in (list, tuple):
        return type(value)(map(nan_marked, value))
    return value


def _at(path: str, got: str, wanted: str) -> str:
    return f"At {path}: got {got}, expected {wanted}." if path else ""


def _numbers(got: float, wanted: float) -> tuple[str, str]:
    """Both with as few digits as show that they differ."""
    for digits in (4, 6, 9, 17):
        one, two = number(got, digits), number(wanted, digits)
        if one != two:
            break
    return one, two


def strange(got: float, wanted: float) -> str:
    """Where nan, infinity or 0 may come from when an ordinary number was expected."""
    if math.isnan(got):
        masked = "nan in a masked position: " if wanted == 0 else "nan: "
        return masked + "from 0/0, inf − inf or 0 · inf, as in a softmax over nothing but −inf."
    if math.isinf(got) and math.isfinite(wanted):
        return "inf: e to the power of a large number, 1/0 or ln 0."
    return ""


def _tensors(got: Tensor, wanted: Tensor, path: str) -> str:
    where = f" at {path}" if path else ""
    if got.shape != wanted.shape:
        return f"The shape{where} is {tuple(got.shape)}; expected {tuple(wanted.shape)}."
    if _sort(got) == "float" and _sort(wanted) == "float":
        one, two = got.detach().cpu().float(), wanted.detach().cpu().float()
        differ = ~torch.isclose(one, two, atol=1e-5)
        differ = differ if differ.any() else one != two
    else:
        one, two = got.detach().cpu(), wanted.detach().cpu()
        differ = one != two
    if not differ.any():
        if got.dtype == wanted.dtype:
            return ""
        return f"The dtype{where} is {got.dtype}; expected {wanted.dtype}."
    first = tuple(differ.nonzero()[0].tolist())
    a, b = one[first].item(), two[first].item()
    place = f"{path}[{', '.join(map(str, first))}]" if first else path
    total = f" ({int(differ.sum())} of {differ.numel()} differ.)" if differ.numel() > 1 else ""
    return f"{_at(place, *_numbers(a, b))}{total} {strange(a, b)}".strip()


def difference(got: Any, wanted: Any) -> str:
    """A sentence about the first place where `got` differs from `wanted`; "" if there is none.

    Both must be of the same type, as `mistyped` has it.

    >>> difference([1, [2, 3]], [1, [2, 4]])
    'At [1][1]: got 3, expected 4.'
    >>> difference(torch.eye(2), torch.ones(2, 2))
    'At [0, 1]: got 0, expected 1. (2 of 4 differ.)'
    """
    return _first(got, wanted, "", 1e-6) or _first(got, wanted, "", 0.0)


def _first(got: Any, wanted: Any, path: str, tolerance: float) -> str:
    if isinstance(wanted, Tensor):
        return _tensors(got, wanted, path)
    if isinstance(wanted, str) and path and len(wanted) <= 40:
        return "" if got == wanted else _at(path, show(got), repr(wanted))
    if isinstance(wanted, dict):
        missing = [f"The key {show(key)} is missing." for key in wanted if key not in got]
        extra = [f"The key {show(key)} should not be there." for key in got if key not in wanted]
        both = [(f"{path}[{show(key)}]", got[key], wanted[key]) for key in wanted if key in got]
        values = (_first(one, two, where, tolerance) for where, one, two in both)
        return next(filter(None, (*missing[:1], *extra[:1], *values)), "")
    if isinstance(wanted, (list, tuple, str, bytes)):
        text, pairs = "", zip(got, wanted, strict=False)
        for i, (one, two) in enumerate(pairs):
            place = f"{path}[{i}]"
            if isinstance(wanted, str):
                text = _at(place, repr(got[i : i + 8]), repr(wanted[i : i + 8])) * (one != two)
            else:
                text = _first(one, two, place, tolerance)
            if text:
                break
        if len(got) == len(wanted):
            return text
        where = f" at {path}" if path else ""
        return f"{text} The length{where} is {len(got)}; expected {len(wanted)}.".strip()
    if type(wanted) is float:
        if got == wanted or close(got, wanted, tolerance):
            return ""
        return f"{_at(path, *_numbers(got, wanted))} {strange(got, wanted)}".strip()
    if got == wanted:
        return ""
    return _at(path, whole(got) or kind(got), whole(wanted) or kind(wanted))
