"""A reader's function, called, compared and explained: what a check does with an answer."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gptbook.exercises import compare, wording
from gptbook.exercises.calls import NotAttempted, NotYet, Raised, attempt, copied, identical
from gptbook.exercises.compare import Same
from gptbook.exercises.forbid import own_name
from gptbook.exercises.wording import show

Mistakes = Iterable[tuple[Any, str]]


class Probe:
    """The reader's function, called on copies of the arguments so that it cannot spoil them."""

    def __init__(self, function: Any, forbid: Sequence[Any] = ()) -> None:
        if function is ...:
            raise NotAttempted
        if own := own_name(function):
            raise NotYet(f"That is the book's own {own}; write yours.")
        if not callable(function):
            raise NotYet(f"The answer should be a function, but it is {show(function)}.")
        name = getattr(function, "__name__", "the function")
        self.function, self.name = function, name if isinstance(name, str) else "the function"
        self._forbidden: tuple[Any, ...] = tuple(forbid)

    def __call__(self, *arguments: Any, hint: str = "") -> Any:
        """Return the function's value; `...` counts as no attempt, an exception as wrong.

        For a check that compares by itself; raises `NotYet` with the `hint` after an exception.
        """
        if isinstance(outcome := self._run(arguments), Raised):
            raise NotYet(self._error(outcome, arguments, hint)) from outcome.error
        return outcome

    def expect(
        self,
        wanted: Any,
        *arguments: Any,
        hint: str = "",
        same: Same | None = None,
        mistakes: Mistakes = (),
    ) -> None:
        """Call the function and compare what it returns with `wanted`; raise `NotYet` if not same.

        The message shows the call, the first place that differs, and a sentence: that of the first
        of `mistakes` that explains the answer, otherwise `hint`. A mistake is (function, sentence);
        it explains the answer if the function, called with the same arguments, returns the same or
        raises the same error. Instead of a function, a value will do:

            answer.expect(
                2.5, [1.0, 4.0], same=close, hint="Add up, then divide by how many there are.",
                mistakes=[(5.0, "This is the sum."), (lambda x: max(x), "This is the largest.")],
            )

        `same(got, wanted)` is asked only if the types agree, down to the items: True is no 1, and
        a tensor no number, except where `wanted` is a float. (Then `same` gets a float, too.)
        """
        self._judge(self._run(arguments), wanted, arguments, hint, same, mistakes)

    def differentiates(
        self,
        wanted: Tensor,
        *arguments: Any,
        of: int = 0,
        hint: str = "",
        same: Same = compare.alike,
        mistakes: Mistakes = (),
    ) -> None:
        """Like `expect`, for the gradient of what is returned, summed, for argument number `of`.

        answer.differentiates(torch.tensor([0.5, 0.5, 0.0]), losses, mask, hint="…")
        """

        def gradient(function: Callable, *given: Any) -> Any:
            given[of].requires_grad_()
            value = function(*given)
            if value is ... or value is None:
                return value
            if not isinstance(value, Tensor) or not value.requires_grad:
                raise NotYet(
                    f"{self.called(*arguments)} must return a tensor on which backward() works, "
                    f"made from the arguments; it returned {show(value)}. {hint}".strip()
                )
            [found] = torch.autograd.grad(value.sum(), given[of], allow_unused=True)
            return torch.zeros_like(given[of]) if found is None else found

        def of_answer(*given: Any) -> Any:
            return gradient(self.function, *given)

        value = attempt(of_answer, copied(arguments), self._forbidden)
        if isinstance(value, Raised) and isinstance(value.error, NotYet):
            raise value.error
        wrong = [(partial(gradient, f) if callable(f) else f, text) for f, text in mistakes]
        self._judge(value, wanted, arguments, hint, same, wrong, "the gradient of ")

    def _judge(
        self,
        outcome: Any,
        wanted: Any,
        arguments: tuple,
        hint: str,
        same: Same | None,
        mistakes: Mistakes,
        prefix: str = "",
    ) -> None:
        raised = isinstance(outcome, Raised)
        if not raised and compare.agrees(outcome, wanted, same):
            return
        for wrong, sentence in mistakes:
            if self._explains(wrong, outcome, wanted, arguments, same):
                hint = sentence
                break
        if raised:
            raise NotYet(self._error(outcome, arguments, hint)) from outcome.error
        raise NotYet(prefix + self._report(outcome, wanted, arguments, hint, same is not None))

    def predicts(
        self,
        wanted: Any,
        tolerance: float | Sequence[float] = 0.0,
        explain: str = "",
        names: Sequence[str] = (),
    ) -> None:
        """Compare a prediction, what the function returns without arguments, with what happens.

        `wanted` is a number, a string or a truth value, or a tuple of these; a number may be off by
        `tolerance`, one for all or one for each. `names` says what the items of a tuple are. The
        message says what was predicted, what happens when it is run, and why: `explain`.

            answer.predicts((64, 0.25), (0, 0.05), "Half of the half.", names=("rows", "share"))
        """
        got, wrong = self._guess(wanted, tolerance)
        told = [f"{names[i]}: " if i < len(names) else "" for i in range(len(got))]
        for name, one, (i, two) in zip(told, got, enumerate(_items(wanted)), strict=True):
            if i in wrong:
                guess, result = wording.told(one), wording.told(two)
                text = f"You predicted {name}{guess}; when it is run, it is {result}. {explain}"
                raise NotYet(text.strip())

    def measures(
        self,
        wanted: Any,
        tolerance: float | Sequence[float] = 0.0,
        hint: str = "",
        names: Sequence[str] = (),
    ) -> None:
        """Like `predicts`, for what the reader has measured: the message does not say the result.

        answer.measures(0.83, tolerance=0.05, hint="Was the model in eval mode?")
        """
        got, wrong = self._guess(wanted, tolerance)
        for i, (one, two) in enumerate(zip(got, _items(wanted), strict=True)):
            if i in wrong:
                name = names[i] if i < len(names) else f"number {i + 1}" if len(got) > 1 else "this"
                off = "not what comes out"
                if isinstance(two, (int, float)) and not isinstance(two, bool):
                    off = "too high" if one > two else "too low" if one < two else off
                found = wording.told(one)
                said = f"{found}: this" if name == "this" else f"{found} for {name}; that"
                raise NotYet(f"You found {said} is {off}. {hint}".strip())

    @contextmanager
    def forbidding(self, *things: Any) -> Iterator[None]:
        """Inside this context, calls may use none of `things`, as with @exercise(…, forbid=[…]).

            with answer.forbidding(torch.logsumexp, nn.CrossEntropyLoss, torch.bfloat16, "gptbook"):
                answer.expect(…)

        Functions, methods, classes, dtypes, names of packages; see `forbid.Forbidding`.
        """
        before, self._forbidden = self._forbidden, (*self._forbidden, *things)
        try:
            yield
        finally:
            self._forbidden = before

    def called(self, *arguments: Any) -> str:
        """The call as a reader would write it."""
        return f"{self.name}({', '.join(map(show, arguments))})"

    def _run(self, arguments: tuple) -> Any:
        """What the function returns for copies of the arguments, or `Raised`."""
        given = copied(arguments)
        value = attempt(self.function, given, self._forbidden)
        if not isinstance(value, Raised) and not identical(given, arguments):
            raise NotYet(f"{self.called(*arguments)} changed its arguments; make a new object.")
        return value

    def _explains(self, wrong: Any, got: Any, wanted: Any, arguments: tuple, same: Any) -> bool:
        """True if the mistake `wrong` leads to `got`, a value or an error, and not to `wanted`."""
        value = attempt(wrong, copied(arguments)) if callable(wrong) else wrong
        if isinstance(value, Raised) or isinstance(got, Raised):
            both = isinstance(value, Raised) and isinstance(got, Raised)
            return both and wording.in_one_line(value.error) == wording.in_one_line(got.error)
        got, value = compare.nan_marked(got), compare.nan_marked(value)
        return compare.agrees(got, value, same) and not compare.agrees(value, wanted, same)

    def _error(self, raised: Raised, arguments: tuple, hint: str) -> str:
        where = f", line {raised.line} of its cell," if raised.line else ""
        text = f"{self.called(*arguments)}{where} raised {wording.in_one_line(raised.error)}"
        tip = wording.advice(raised.error, self.name)
        return " ".join(filter(None, (text.rstrip(".") + ".", tip, hint)))

    def _report(self, got: Any, wanted: Any, arguments: tuple, hint: str, loose: bool) -> str:
        call = self.called(*arguments)
        if got is None:
            return f"{call} returned None; expected {wording.kind(wanted)}. Is a `return` missing?"
        try:
            if wrong_type := compare.mistyped(got, wanted, loose):
                text = f"{call} returned {show(got)}. {wrong_type} "
            else:
                got = compare.plain(got, wanted)
                text = f"{call} {wording.contrast(got, wanted)}{compare.difference(got, wanted)}"
        except Exception:  # got is of a kind that nobody foresaw
            text = f"{call} returned {show(got)}; expected {show(wanted)}."
        return f"{text.rstrip()} {hint}".strip()

    def _guess(self, wanted: Any, tolerance: float | Sequence[float]) -> tuple[tuple, set[int]]:
        """What was guessed, as a tuple, and which items of it are wrong."""
        got = self()
        if isinstance(wanted, tuple) and type(got) is list:
            got = tuple(got)
        items = _items(wanted)
        pattern = tuple(float(w) if type(w) is int else w for w in items)  # 3.0 is right for 3
        wrong_type = compare.mistyped(got, pattern if isinstance(wanted, tuple) else pattern[0])
        if got is None or wrong_type or (isinstance(wanted, tuple) and len(got) != len(items)):
            kinds = ["a number" if type(p) is float else f"a {type(p).__name__}" for p in pattern]
            form = f"({', '.join(kinds)})" if isinstance(wanted, tuple) else kinds[0]
            raise NotYet(f"{self.called()} returned {show(got)}; it should return {form}.")
        got = tuple(map(compare.plain, _items(got), pattern))
        each = tolerance if isinstance(tolerance, Sequence) else [tolerance] * len(items)
        wrong = set()
        for i, (one, two, off) in enumerate(zip(got, pattern, each, strict=True)):
            near = abs(one - two) <= off + 1e-9 if type(two) is float else one == two
            wrong |= set() if near else {i}
        return got, wrong


def _items(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,)
