"""`check("2.1", answer)` tells a reader whether an answer is right, and if not, what was seen.

The checks stand in one module a chapter, chapter_02.py and so on (appendix_b.py for appendix B),
each registered under its number with `@exercise("2.1")`. A check calls the reader's function
through a `Probe` and stops at the first thing that is wrong.
"""

import copy
import importlib
import re
import reprlib
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Check = Callable[["Probe"], None]
_checks: dict[str, Check] = {}


@dataclass(frozen=True)
class Result:
    """A check's outcome: "correct", "not yet", "not attempted" or "unknown exercise"."""

    number: str
    status: str
    hint: str = ""

    @property
    def correct(self) -> bool:
        """True for a right answer."""
        return self.status == "correct"

    def __str__(self) -> str:
        return f"Exercise {self.number}: {self.status}." + (f"\n{self.hint}" if self.hint else "")

    def _ipython_display_(self) -> None:
        """Show nothing: `check` has printed the result already."""


class NotYet(Exception):
    """Raised in a check: the message is the hint."""


class NotAttempted(Exception):
    """Raised in a check: the answer is still the stub."""


class Probe:
    """The reader's function, called on copies of the arguments so that it cannot spoil them."""

    def __init__(self, function: Any) -> None:
        if function is ...:
            raise NotAttempted
        if not callable(function):
            raise NotYet(f"The answer should be a function, but it is {show(function)}.")
        self.function, self.name = function, getattr(function, "__name__", "the function")

    def __call__(self, *arguments: Any) -> Any:
        """Return the function's value; `...` counts as no attempt, an exception as wrong."""
        given = copy.deepcopy(arguments)
        try:
            value = self.function(*given)
        except (Exception, SystemExit) as error:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)]
            where = f", line {lines[1]} of its cell," if len(lines) > 1 else ""
            raise NotYet(
                f"{self.called(*arguments)}{where} raised {type(error).__name__}: {error}"
            ) from error
        if value is ...:
            raise NotAttempted
        if not identical(given, arguments):
            raise NotYet(f"{self.called(*arguments)} changed its arguments; make a new object.")
        return value

    def expect(
        self,
        wanted: Any,
        *arguments: Any,
        hint: str = "",
        same: Callable[[Any, Any], bool] = lambda got, wanted: got == wanted,
    ) -> None:
        """Call the function and compare what it returns with `wanted`."""
        got = self(*arguments)
        try:
            equal = bool(same(got, wanted))
        except Exception:
            equal = False  # got is of a kind that cannot be compared
        if not equal:
            if got is None:
                hint = "Is a `return` missing?"
            elif not isinstance(got, type(wanted)) and not converts(got, wanted):
                hint = f"Return type {type(wanted).__name__}, not {type(got).__name__}. {hint}"
            raise NotYet(
                f"{self.called(*arguments)} returned {show(got)}; "
                f"expected {show(wanted)}. {hint}".strip()
            )

    def called(self, *arguments: Any) -> str:
        """The call as a reader would write it."""
        return f"{self.name}({', '.join(map(show, arguments))})"


def identical(a: Any, b: Any) -> bool:
    """True if two arguments of a check are equal, also where they are or hold tensors."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(identical, a, b))
    return a == b


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 120
_repr.maxlist = _repr.maxtuple = _repr.maxdict = _repr.maxset = 12


def show(value: Any) -> str:
    """A short one-line form of `value` for hints."""
    return " ".join(_repr.repr(value).split())


def converts(got: Any, wanted: Any) -> bool:
    """True if `got` stands for a number as `wanted` is one; then its type is not what is wrong."""
    return isinstance(wanted, float) and hasattr(got, "__float__")


def close(got: Any, wanted: float, tolerance: float = 1e-6) -> bool:
    """True if two numbers agree to a relative `tolerance`."""
    return abs(got - wanted) <= tolerance * max(1.0, abs(wanted))


def exactly(got: Any, wanted: int) -> bool:
    """True if two numbers are equal and `got` is a whole one, not a float or a truth value."""
    return type(got) is int and got == wanted


def alike(got: Any, wanted: Any) -> bool:
    """True if two tensors, or tuples of them, have the same shapes and numbers, up to rounding."""
    if isinstance(wanted, tuple):
        return len(got) == len(wanted) and all(map(alike, got, wanted))
    if torch.bool in (got.dtype, wanted.dtype):
        return got.dtype == wanted.dtype and torch.equal(got, wanted)
    return got.shape == wanted.shape and torch.allclose(got.float(), wanted, atol=1e-5)


def drawn(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    """A list of random tensors of these shapes, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def exercise(number: str) -> Callable[[Check], Check]:
    """Register the decorated function as the check of exercise `number`; it gets a `Probe`."""

    def register(function: Check) -> Check:
        assert number not in _checks, f"two checks for exercise {number}"
        _checks[number] = function
        return function

    return register


def exercise_numbers(chapter: int | str) -> list[str]:
    """Return the numbers of the exercises of a chapter, or appendix, that have a check.

    >>> exercise_numbers(2)[0]
    '2.1'
    """
    key = str(int(chapter) if str(chapter).isdecimal() else chapter).upper()
    module = f"chapter_{int(key):02d}" if key.isdecimal() else f"appendix_{key.lower()}"
    try:
        importlib.import_module(f"{__name__}.{module}")
    except ModuleNotFoundError as error:
        if error.name == f"{__name__}.{module}":
            return []
        raise  # the chapter's checks are there, but something that they need is not
    return sorted(
        (n for n in _checks if n.split(".")[0] == key), key=lambda n: int(n.split(".")[1])
    )


def check(number: str, answer: Any) -> Result:
    """Check a reader's function for exercise `number`; print and return the `Result`.

    Never raises, so that a notebook with unsolved exercises runs through.
    """
    result = _run(str(number), answer)
    try:
        print(result)
    except UnicodeError:  # a console that cannot show every character
        print(ascii(str(result)))
    return result


def _run(number: str, answer: Any) -> Result:
    chapter = number.split(".")[0]
    plain = (chapter.isdecimal() and len(chapter) <= 2) or re.fullmatch("[A-Z]", chapter)
    numbers = exercise_numbers(chapter) if plain else []
    if number not in numbers:
        kind = "Chapter" if chapter.isdecimal() else "Appendix"
        known = f"{kind} {chapter} has {', '.join(numbers)}."
        known = known if numbers else "Numbers look like this: 2.1."
        return Result(number, "unknown exercise", known)
    try:
        _checks[number](Probe(answer))
    except NotAttempted:
        return Result(number, "not attempted")
    except NotYet as error:
        return Result(number, "not yet", str(error))
    except Exception as error:  # an answer of a kind that the check did not foresee
        return Result(number, "not yet", f"The check could not make sense of the answer: {error}")
    return Result(number, "correct")
