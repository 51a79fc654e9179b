"""`check("2.1", answer)` tells a reader whether an answer is right, and if not, what was seen.

The checks stand in one module a chapter, chapter_02.py and so on (appendix_b.py for appendix B),
each registered under its number with `@exercise("2.1")`. A check calls the reader's function
through a `Probe` and stops at the first thing that is wrong. What a `Probe` can do:

    @exercise("2.2")
    def merge(answer):
        answer.expect(                                  # call, compare, explain
            [9, 3, 9], [1, 2, 3, 1, 2], (1, 2), 9,      # what is wanted; then the arguments
            hint="Replace every occurrence.",           # said if no mistake below is recognized
            mistakes=[(only_first, "You replaced only the first one.")],
        )

    @exercise("3.2", forbid=[F.scaled_dot_product_attention, "gptbook"])
    def attention_weights(answer):                      # these cannot be called, under any alias
        answer.expect(torch.eye(1), torch.ones(1, 4), torch.ones(1, 4), same=alike)

    @exercise("1.4")
    def guess(answer):                                  # predict, then run; `measures`: investigate
        answer.predicts((64, 0.5), tolerance=(0, 0.1), explain="Each of the 8 rows has 8 numbers.")

`answer.differentiates` is `expect` for the gradient of what is returned, `answer.forbidding` is a
context in which things are forbidden, and `answer(x, hint=…)` a call alone, for checks that compare
by themselves and raise NotYet("what was seen"). Each method's docstring has an example.

Begin with the smallest case in whole numbers (torch.arange, 0 and 1): tensors of whole numbers are
printed, and of random decimals only the first that differs. `same` is one of `alike` (tensors),
`close` (floats), or nothing, which compares exactly; types are strict in each case. Also test what
underflows and overflows, with `many_small()` and `large_logits()`.
"""

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gptbook.exercises.calls import NotAttempted, NotYet
from gptbook.exercises.compare import alike, close, exactly
from gptbook.exercises.forbid import AUTOGRAD
from gptbook.exercises.probe import Probe
from gptbook.exercises.wording import show

__all__ = [
    "AUTOGRAD",
    "NotAttempted",
    "NotYet",
    "Probe",
    "Result",
    "alike",
    "check",
    "close",
    "drawn",
    "exactly",
    "exercise",
    "exercise_numbers",
    "large_logits",
    "many_small",
    "show",
]

Check = Callable[[Probe], None]
_checks: dict[str, tuple[Check, Sequence[Any]]] = {}


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

    def __bool__(self) -> bool:
        return self.correct

    def __str__(self) -> str:
        return f"Exercise {self.number}: {self.status}." + (f"\n{self.hint}" if self.hint else "")

    def _ipython_display_(self) -> None:
        """Show nothing: `check` has printed the result already."""


def drawn(*shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    """A list of random tensors of these shapes, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def many_small(number: int = 500, p: float = 0.01) -> list[float]:
    """Probabilities whose product is smaller than any float: 0, and its logarithm an error.

    For answers that should add logarithms; a message shows the list as `[0.01] * 500`.
    """
    return [p] * number


def large_logits() -> list[Tensor]:
    """Logits whose exponentials overflow, or are all 0, unless the largest is subtracted first."""
    values = ([1000.0, 998.0, -1000.0], [-1000.0, -999.0], [0.0, 300.0], [0.0, -200.0])
    return [torch.tensor(logits) for logits in values]


def exercise(number: str, forbid: Sequence[Any] = ()) -> Callable[[Check], Check]:
    """Register the decorated function as the check of exercise `number`; it gets a `Probe`.

    What `forbid` lists cannot be called by the answer: functions, methods, classes, dtypes, and the
    book's own with "gptbook"; see `forbid.Forbidding`.
    """

    def register(function: Check) -> Check:
        assert number not in _checks, f"two checks for exercise {number}"
        _checks[number] = function, tuple(forbid)
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
    function, forbidden = _checks[number]
    try:
        function(Probe(answer, forbidden))
    except NotAttempted:
        return Result(number, "not attempted")
    except NotYet as error:
        return Result(number, "not yet", str(error))
    except Exception as error:  # an answer of a kind that the check did not foresee
        return Result(number, "not yet", f"The check could not make sense of the answer: {error}")
    return Result(number, "correct")
