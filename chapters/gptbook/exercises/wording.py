"""How the checks say what they have seen: values in short, small matrices as grids, advice."""

import math
import re
import reprlib
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

from torch import Tensor


def number(value: Any, digits: int = 6) -> str:
    """A number of a tensor, in `digits` digits: 0.333333, 2, nan; a truth value as 1 or 0."""
    if isinstance(value, (bool, int)):
        return str(int(value))
    if isinstance(value, complex) or not math.isfinite(value):
        return str(value)
    return str(int(value)) if value == int(value) and abs(value) < 1e9 else f"{value:.{digits}g}"


def told(value: Any) -> str:
    """A guess or a result: a number in few digits, anything else as `show` has it."""
    return number(value) if type(value) in (int, float) else show(value)


def is_tidy(tensor: Tensor) -> bool:
    """True if `tensor` is worth showing whole: few numbers, of at most three digits or whole."""
    if tensor.numel() > 144 or tensor.dim() > 3:
        return False
    values = tensor.detach().flatten().tolist()
    if all(isinstance(v, (bool, int)) or not math.isfinite(v) or v == int(v) for v in values):
        return all(abs(v) < 1e6 or not math.isfinite(v) for v in values)
    short = all(not math.isfinite(v) or abs(float(f"{v:.3g}") - v) <= 1e-6 * abs(v) for v in values)
    return short and tensor.numel() <= 16


def _nested(values: Any) -> str:
    if isinstance(values, list):
        return f"[{', '.join(map(_nested, values))}]"
    return str(values) if isinstance(values, bool) else number(values)


class _Short(reprlib.Repr):
    """Tensors of random decimals as their shape, 500 equal numbers as `[0.01] * 500`."""

    def repr_Tensor(self, value: Tensor, level: int) -> str:
        if is_tidy(value) or value.dim() == 0:
            return f"tensor({_nested(value.detach().tolist())})"
        return f"<tensor {tuple(value.shape)}>"

    repr_Parameter = repr_Tensor

    def repr_float(self, value: float, level: int) -> str:
        return repr(value) if value == round(value, 6) else f"{value:.6g}"

    def repr_list(self, values: list, level: int) -> str:
        long = len(values) > self.maxlist and isinstance(values[0], (bool, int, float))
        if long and all(type(v) is type(values[0]) and v == values[0] for v in values):
            return f"[{self.repr1(values[0], level - 1)}] * {len(values)}"
        return super().repr_list(values, level)


def _shortener(items: int, characters: int) -> _Short:
    short = _Short()
    short.maxstring = short.maxother = short.maxlong = characters
    short.maxlist = short.maxtuple = short.maxdict = short.maxset = items
    return short


_repr, _whole = _shortener(12, 120), _shortener(10**6, 10**6)


def show(value: Any) -> str:
    """A short one-line form of `value`; what is long is cut, decimals of tensors are left out.

    >>> import torch
    >>> show([0.01] * 500)
    '[0.01] * 500'
    >>> show(torch.eye(2)), show(torch.rand(2, 3))
    ('tensor([[1, 0], [0, 1]])', '<tensor (2, 3)>')
    """
    try:
        return " ".join(_repr.repr(value).split())
    except Exception:
        return f"an object of type {type(value).__name__}"


def whole(value: Any, longest: int = 100) -> str:
    """`value` in one line, nothing left out; "" if that is more than `longest` characters."""
    try:
        text = " ".join(_whole.repr(value).split()) if not isinstance(value, str) else repr(value)
    except Exception:
        return ""
    return text if len(text) <= longest and "<tensor" not in text else ""


def kind(value: Any) -> str:
    """What sort of thing `value` is, and how large: 'a list of 30 items'."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, (str, bytes)):
        return f"{len(value)} {'characters' if isinstance(value, str) else 'bytes'}"
    if isinstance(value, (list, tuple, dict, set)):
        return f"a {type(value).__name__} of {len(value)} items"
    return show(value)


def is_grid(value: Any) -> bool:
    """True for a matrix that is printed whole: at most 16 rows and columns of whole numbers."""
    if not isinstance(value, Tensor) or value.dim() != 2 or not value.numel():
        return False
    fits = max(value.shape) <= 16 and is_tidy(value)
    return fits and all(float(v).is_integer() for v in value.detach().flatten().tolist())


def grid(matrix: Tensor) -> list[str]:
    """The rows of a matrix as lines of equal width; True is 1 and False is 0.

    >>> import torch
    >>> grid(torch.tensor([[1, 10], [100, 1]]))
    ['  1  10', '100   1']
    """
    rows = [[number(value) for value in row] for row in matrix.detach().tolist()]
    width = max(len(entry) for row in rows for entry in row)
    return [" ".join(entry.rjust(width) for entry in row) for row in rows]


def beside(left: Iterable[str], right: Iterable[str]) -> str:
    """Two columns of lines side by side."""
    left, right = list(left), list(right)
    width = max(map(len, left))
    pairs = zip_longest(left, right, fillvalue="")
    return "\n".join(f"    {one.ljust(width)}    {two}".rstrip() for one, two in pairs)


def contrast(got: Any, wanted: Any) -> str:
    """What was returned and what was expected: whole where that is short, otherwise in words."""
    if is_grid(got) and is_grid(wanted):
        return f"returned:\n{beside(['returned', *grid(got)], ['expected', *grid(wanted)])}\n"
    one, two = whole(got), whole(wanted)
    one, two = one or kind(got), two or kind(wanted)
    return f"returned {one}; expected {two}. " if one != two else f"returned {one}. "


_ADVICE = [  # (types of errors, a part of what they say, what may help)
    ("IndexError", "", "An index is too large: of n items, the last is number n - 1."),
    (
        "RuntimeError",
        "must match the size of tensor",
        "The shapes do not line up. Broadcasting compares them from the right: did you forget "
        "`keepdim=True`, or `[:, None]`?",
    ),
    (
        "RuntimeError",
        "shapes cannot be multiplied|size mismatch|inconsistent tensor size",
        "In a product of matrices, the first must have as many columns as the second has rows: "
        "is a `.T` missing, or one too many?",
    ),
    ("RuntimeError", "shape '", "A view must have as many numbers as the tensor."),
    ("RuntimeError", "view size", "After a transposition, use `reshape` in place of `view`."),
    (
        "RuntimeError",
        "leaf Variable that requires grad is being used in an in-place",
        "A step must not be recorded: put it into `with torch.no_grad():`.",
    ),
    (
        "RuntimeError",
        "does not require grad",
        "Nothing is watched here: is a weight missing `requires_grad=True`, or has `w = w - …` "
        "made a new tensor, where `w -= …` would change the old one?",
    ),
    (
        "AttributeError",
        "no attribute 'zero_grad'",
        "A single tensor is cleared with `c.grad = None`; modules and optimizers have `zero_grad`.",
    ),
    (
        "AttributeError",
        "'NoneType' object has no attribute 'zero_'",
        "Before the first backward there is no gradient: clear with `c.grad = None`.",
    ),
    ("RuntimeError", "dtype|scalar type", "Two tensors have different dtypes."),
    ("OverflowError", "", "A number became too large for a float: work with logarithms."),
    (
        "ZeroDivisionError",
        "",
        "Something divides by 0: is there an empty case, or did a long product become 0?",
    ),
    (
        "ValueError",
        "math domain error|expected a positive input",
        "The logarithm of 0: a product of many small numbers becomes 0. Add logarithms instead.",
    ),
    ("KeyError", "", "The dict does not have this key yet: `.get(key, 0)` gives 0 then."),
    ("NameError", "", "Has the cell that defines this name been run?"),
    ("TypeError", "positional argument", "The stub says which arguments the check gives."),
    ("RecursionError", "", "The function calls itself without end."),
]


def advice(error: BaseException, function: str = "") -> str:
    """What may help against a common error of `function`, or ""."""
    if isinstance(error, TypeError) and not re.search(
        rf"(^|\.){re.escape(function)}\(\) ", str(error)
    ):
        return ""  # it is another function that was called wrongly
    names = {cls.__name__ for cls in type(error).__mro__}
    for name, parts, sentence in _ADVICE:
        if name in names and any(part in str(error) for part in parts.split("|")):
            return sentence
    return ""


def in_one_line(error: BaseException) -> str:
    """An error's type and message in one line of reasonable length, whatever it holds."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    text = text if len(text) <= 200 else text[:199] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
