"""What a check does with an answer, and what it says about a wrong one."""

import math

import pytest
import torch

from gptbook.exercises import (
    NotAttempted,
    NotYet,
    Probe,
    alike,
    close,
    drawn,
    large_logits,
    many_small,
)


def said(function, method, *arguments, **options):
    """The message of a wrong answer; fails if the answer is right."""
    with pytest.raises(NotYet) as caught:
        getattr(Probe(function), method)(*arguments, **options)
    return str(caught.value)


def expected(function, *arguments, **options):
    return said(function, "expect", *arguments, **options)


class Chameleon:
    """Equal to anything, and a number when asked."""

    def __eq__(self, other):
        return True

    __hash__ = None

    def __float__(self):
        return 1.0

    def __len__(self):
        return 2

    def __iter__(self):
        return iter((1, 2))


class Text(str):
    pass


@pytest.mark.parametrize(
    ("wanted", "got", "same"),
    [
        (1, Chameleon(), None),
        (1.0, Chameleon(), close),
        ([1, 2], Chameleon(), None),
        ([1, 2], [Chameleon(), Chameleon()], None),
        ((1, 2), (1, Chameleon()), None),
        ({"a": 1}, {"a": Chameleon()}, None),
        ("a", Text("a"), None),
        ("a", b"a", None),
        (1, True, None),
        (True, 1, None),
        (1, 1.0, None),
        (1, torch.tensor(1), None),
        ([1, 2], [torch.tensor(1), torch.tensor(2)], None),
        ([1, 2], torch.tensor([1, 2]), None),
        ([1, 2], (1, 2), None),
        ((1, 2), [1, 2], None),
        (1.0, True, close),
        (1.0, torch.tensor([1.0]), close),
        (1.0, "1.0", close),
        ([1.0], [True], None),
        (torch.ones(2), torch.ones(2, dtype=torch.int64), alike),
        (torch.ones(2), [1.0, 1.0], alike),
        (torch.ones(2), torch.ones(2).numpy(), alike),
        (torch.ones(2) > 0, torch.ones(2), alike),
    ],
)
def test_the_wrong_type_is_never_right_and_is_named(wanted, got, same):
    message = expected(lambda: got, wanted, same=same)
    assert "type" in message


@pytest.mark.parametrize(
    ("wanted", "got", "same"),
    [
        (1.0, torch.tensor(1.0), close),
        (1.0, torch.ones((), requires_grad=True), close),
        (1.0, torch.ones(1).numpy()[0], close),
        (2.0, 2, close),
        ([0.5, 1.0], [torch.tensor(0.5), 1], None),
        ((1.0, 2.0), [1.0, 2.0], lambda got, wanted: got == wanted),
        (torch.ones(2), torch.nn.Parameter(torch.ones(2)), alike),
        (torch.ones(2), torch.ones(2).double(), alike),
        (torch.ones(2, dtype=torch.long), torch.ones(2, dtype=torch.int32), alike),
    ],
)
def test_what_stands_for_a_number_is_right(wanted, got, same):
    Probe(lambda: got).expect(wanted, same=same)


def test_numbers_of_the_right_type_must_still_be_equal():
    assert "returned 2; expected 1" in expected(lambda: 2, 1)
    assert "returned nan; expected 1.0" in expected(lambda: math.nan, 1.0, same=close)
    assert "nan" in expected(lambda: math.nan, math.nan)
    one, two = expected(lambda: 1.00000001, 1.0).split("returned ")[1].split("; expected ")
    assert one != two.split(". ")[0]


def test_a_mistake_that_explains_the_answer_is_named_and_others_are_not():
    def options():
        return {
            "hint": "Add up, then divide.",
            "same": close,
            "mistakes": [
                (max, "This is the largest."),
                (6.0, "This is the sum."),
                (lambda x: x[3], "You count from 1."),
                (lambda x: sum(x) / 3, "The right answer is no mistake."),
            ],
        }

    def mean(function):
        return expected(function, 2.0, [1.0, 2.0, 3.0], **options())

    assert mean(max).endswith("This is the largest.")
    assert mean(sum).endswith("This is the sum.")
    assert mean(min).endswith("Add up, then divide.")
    assert mean(lambda x: (x[1], x[3])).endswith("You count from 1.")  # raised the same error
    with pytest.raises(NotYet, match="divide"):
        Probe(lambda x: [2.0]).expect(2.0, [1.0, 2.0, 3.0], **options())


def test_a_mistake_may_itself_raise_or_return_what_cannot_be_compared():
    mistakes = [(lambda x: 1 / 0, "no"), (lambda x: object(), "no"), (lambda x: x, "yes")]
    assert expected(lambda x: x, 2, 1, mistakes=mistakes).endswith("yes")


def test_a_mistake_may_lead_to_nan():
    wanted, wrong = torch.ones(2), [(lambda: torch.ones(2) * math.nan, "All is 0/0.")]
    message = expected(lambda: torch.ones(2) * math.nan, wanted, same=alike, mistakes=wrong)
    assert message.endswith("All is 0/0.")
    assert expected(lambda: math.nan, 1.0, mistakes=[(math.nan, "It is 0/0.")]).endswith("0/0.")


def test_a_mistake_cannot_spoil_the_arguments():
    given = [1, 2]
    expected(lambda x: 5, 3, given, mistakes=[(lambda x: x.clear(), "no")])
    assert given == [1, 2]


def test_an_error_keeps_the_explanation_and_gets_advice():
    message = expected(lambda x: x[3], 1, [1, 2, 3], hint="Count from 0.")
    assert "IndexError" in message
    assert "number n - 1" in message
    assert message.endswith("Count from 0.")
    [W] = drawn((3, 5))
    message = expected(lambda W: W / W.norm(dim=1), W, W, hint="Row by row.")
    assert "keepdim" in message
    assert message.endswith("Row by row.")
    assert "line " in message


@pytest.mark.parametrize(
    ("function", "word"),
    [
        (lambda ps: -math.log(math.prod(ps)), "Add logarithms"),
        (lambda ps: 1 / math.prod(ps), "long product"),
        (lambda ps: math.exp(1000), "logarithms"),
        (lambda ps: {}[0], "get(key, 0)"),
        (lambda: 1, "stub"),
        (lambda ps: torch.ones(2, 3) @ torch.ones(2, 3), "`.T`"),
    ],
)
def test_common_errors_get_advice(function, word):
    assert word in expected(function, 1.0, many_small())


def test_large_logits_overflow_and_underflow():
    naive = [z.exp().sum().log() for z in large_logits()]
    assert any(map(torch.isinf, naive))
    assert math.prod(many_small()) == 0


def test_a_call_alone_keeps_its_hint():
    assert said(lambda x: x.no, "__call__", 1, hint="Why not?").endswith("Why not?")
    assert Probe(lambda x: x + 1)(2) == 3


def test_the_first_place_that_differs_is_shown_and_walls_are_not():
    long = list(range(40))
    message = expected(lambda: [*long[:30], 7, *long[31:]], long)
    assert "At [30]: got 7, expected 30." in message
    assert len(message) < 120
    x, y = drawn((20, 30), (20, 30))
    message = expected(lambda x: y, x, x, same=alike)
    assert len(message) < 200
    assert "At [0, 0]: got " in message
    assert "(600 of 600 differ.)" in message


def test_small_matrices_are_printed_whole():
    mask = torch.ones(9, 9).tril() > 0
    message = expected(lambda T: torch.ones(T, T) > 0, mask, 9, same=alike)
    assert "    1 1 1 1 1 1 1 1 1    1 0 0 0 0 0 0 0 0" in message.splitlines()
    assert "At [0, 1]: got 1, expected 0." in message


def test_shapes_and_dtypes_have_their_own_sentence():
    message = expected(lambda: torch.ones(3, 1), torch.ones(3), same=alike)
    assert "The shape is (3, 1); expected (3,)." in message
    pair = (torch.ones(3), torch.ones(2, 2))
    message = expected(lambda: (torch.ones(3), torch.ones(2)), pair, same=alike)
    assert "The shape at [1] is (2,); expected (2, 2)." in message
    message = expected(lambda: torch.ones(3), torch.ones(3) > 0, same=alike)
    assert "the dtype torch.float32; expected torch.bool." in message
    message = expected(lambda: torch.ones(2).half(), torch.ones(2))
    assert "The dtype is torch.float16; expected torch.float32." in message


def test_nan_in_masked_positions_is_named():
    wanted = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    message = expected(lambda: wanted + torch.tensor([0.0, math.nan]), wanted, same=alike)
    assert "At [0, 1]: got nan, expected 0." in message
    assert "masked position" in message
    assert "inf" in expected(lambda: wanted / 0, wanted, same=alike)


def test_what_is_missing_is_said():
    assert "Is a `return` missing?" in expected(lambda: None, [1])
    assert "The key 'b' is missing." in expected(lambda: {"a": 1}, {"a": 1, "b": 2})
    assert "The key 'c' should not be there." in expected(lambda: {"a": 1, "c": 2}, {"a": 1})
    assert "The length is 2; expected 3." in expected(lambda: [1, 2], [1, 2, 3])


def test_arguments_are_not_changed_and_changing_them_is_wrong():
    for given in ([1, 2], torch.ones(2), {"a": [1]}, torch.nn.Linear(2, 2, bias=False)):

        def spoil(x):
            with torch.no_grad():
                x = x.weight if isinstance(x, torch.nn.Module) else x
                _ = x.clear() if isinstance(x, (list, dict)) else x.zero_()
            return 1

        before = str(given if not isinstance(given, torch.nn.Module) else given.weight)
        assert "changed its arguments" in expected(spoil, 1, given)
        assert str(given if not isinstance(given, torch.nn.Module) else given.weight) == before
    Probe(lambda x: 1).expect(1, torch.tensor([math.nan]))
    Probe(lambda x: 1).expect(1, torch.nn.Linear(2, 2))
    Probe(lambda x: torch.rand(1, generator=x) < 2).expect(torch.tensor([True]), torch.Generator())


def test_a_stub_is_no_attempt_wherever_it_is_called():
    for method, arguments in {"expect": (1,), "predicts": (1,), "measures": (1,)}.items():
        with pytest.raises(NotAttempted):
            getattr(Probe(lambda: ...), method)(*arguments)
    with pytest.raises(NotAttempted):
        Probe(lambda x: ...).differentiates(torch.ones(2), torch.ones(2))
    with pytest.raises(NotAttempted):
        Probe(...)


def test_a_prediction_is_compared_and_explained():
    names, why = ("rows", "fraction"), "Half of the half."

    def predicted(value):
        return said(lambda: value, "predicts", (64, 0.25), (0, 0.05), why, names)

    for right in ((64, 0.25), (64.0, 0.29), [64, torch.tensor(0.21)]):
        Probe(lambda right=right: right).predicts((64, 0.25), (0, 0.05), why)
    message = predicted((64, 0.5))
    assert message == f"You predicted fraction: 0.5; when it is run, it is 0.25. {why}"
    assert "rows: 32" in predicted((32, 0.5))
    assert "(a number, a number)" in predicted(64)
    assert "(a number, a number)" in predicted((64, 0.25, 1))
    assert "(a number, a number)" in predicted((True, 0.25))
    assert "(a number, a number)" in predicted((64, "a quarter"))
    assert "nan" in predicted((64, math.nan))
    assert said(lambda: None, "predicts", 3).endswith("it should return a number.")
    assert said(lambda: 1 / 0, "predicts", 3).startswith("<lambda>()")
    assert said(lambda: "up", "predicts", "down", explain=why).endswith(why)
    Probe(lambda: True).predicts(True)
    assert "a bool" in said(lambda: 1, "predicts", True)


def test_a_measurement_is_compared_and_not_given_away():
    Probe(lambda: 0.8).measures(0.83, 0.05)
    message = said(lambda: 0.5, "measures", 0.83, 0.05, "In eval mode?")
    assert message == "You found 0.5: this is too low. In eval mode?"
    assert "You found 9 for number 2; that is too high" in said(lambda: (1, 9), "measures", (1, 2))
    assert "b" not in said(lambda: "a", "measures", "b").split("You found")[1].split("'a'")[0]


def test_gradients_are_compared():
    x = torch.tensor([1.0, 2.0])
    twice = 2 * x

    def gradient(function, **options):
        return said(function, "differentiates", twice, x, hint="Keep it a tensor.", **options)

    Probe(lambda x: (x**2).sum()).differentiates(twice, x)
    Probe(lambda x: x**2).differentiates(twice, x)
    assert "At [0]: got 0, expected 2." in gradient(lambda x: (x.round() * 5).sum())
    for wrong in (lambda x: 5.0, lambda x: torch.tensor(5.0), lambda x: (x**2).sum().item()):
        message = gradient(wrong)
        assert "on which backward() works" in message
        assert message.endswith("Keep it a tensor.")
    mistakes = [(lambda x: x.sum(), "Where is the square?")]
    assert gradient(lambda x: x.sum(), mistakes=mistakes).endswith("Where is the square?")
    assert "raised" in gradient(lambda x: x[5])
    assert not x.requires_grad
