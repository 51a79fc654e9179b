"""What an exercise forbids cannot be called, under whatever name; afterwards all is as before."""

import functools
import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import cross_entropy as renamed
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

import gptbook.model
from gptbook.bpe import merge_pair as merge_two
from gptbook.exercises import AUTOGRAD, NotYet, Probe
from gptbook.exercises.forbid import Forbidding, name_of, own_name
from gptbook.model import GPT, GPTConfig

x, y = torch.randn(3, 5), torch.tensor([0, 1, 2])
q = torch.randn(1, 2, 3, 4)
made_before = nn.CrossEntropyLoss()
several_heads = nn.MultiheadAttention(4, 1)
config = GPTConfig(11, 7, 8, 1, 2)

LOSSES = (F.cross_entropy, torch.logsumexp, F.log_softmax, nn.CrossEntropyLoss)
BF16 = (torch.bfloat16,)
ATTENTION = (F.scaled_dot_product_attention, nn.MultiheadAttention)
BOOK = ("gptbook",)
MODEL = (GPT,)


class Subclass(GPT):
    """A model under another name."""


def tried_and_caught():
    try:
        return x.logsumexp(1)
    except BaseException:
        return 1


def square(w):
    return (w**2).sum()


def of_square():
    return square(torch.ones(2, requires_grad=True))


FORBIDDEN = [
    (LOSSES, lambda: F.cross_entropy(x, y), "F.cross_entropy"),
    (LOSSES, lambda: renamed(x, y), "F.cross_entropy"),
    (LOSSES, lambda: made_before(x, y), "nn.CrossEntropyLoss"),
    (LOSSES, lambda: nn.CrossEntropyLoss()(x, y), "nn.CrossEntropyLoss"),
    (LOSSES, lambda: x.logsumexp(1), "torch.logsumexp"),
    (LOSSES, lambda: Tensor.logsumexp(x, 1), "torch.logsumexp"),
    (LOSSES, lambda: torch.special.logsumexp(x, 1), "torch.logsumexp"),
    (LOSSES, lambda: torch.ops.aten.logsumexp(x, [1]), "torch.logsumexp"),
    (LOSSES, lambda: list(map(torch.logsumexp, [x], [1])), "torch.logsumexp"),
    (LOSSES, lambda: getattr(x, "log" + "sumexp")(1), "torch.logsumexp"),
    (LOSSES, lambda: torch.func.vmap(lambda row: row.logsumexp(0))(x), "torch.logsumexp"),
    (LOSSES, lambda: torch.special.log_softmax(x, 1), "F.log_softmax"),
    (LOSSES, lambda: nn.LogSoftmax(1)(x), "F.log_softmax"),
    (LOSSES, lambda: torch._C._nn.cross_entropy_loss(x, y), "log_softmax"),
    (LOSSES, tried_and_caught, "torch.logsumexp"),
    ((Tensor.logsumexp,), lambda: torch.logsumexp(x, 1), "Tensor.logsumexp"),
    (BF16, lambda: x.bfloat16(), "torch.bfloat16"),
    (BF16, lambda: x.to(torch.bfloat16), "torch.bfloat16"),
    (BF16, lambda: x.type(torch.bfloat16).float(), "torch.bfloat16"),
    (BF16, lambda: x.view(torch.bfloat16), "torch.bfloat16"),
    (BF16, lambda: torch.tensor([1.0], dtype=torch.bfloat16), "torch.bfloat16"),
    ((Tensor.bfloat16,), lambda: Tensor.bfloat16(x), "Tensor.bfloat16"),
    (ATTENTION, lambda: F.scaled_dot_product_attention(q, q, q), "F.scaled_dot_product_attention"),
    (ATTENTION, lambda: several_heads(q[0], q[0], q[0]), "nn.MultiheadAttention"),
    (MODEL, lambda: GPT(config), "gptbook.model.GPT"),
    (MODEL, lambda: Subclass(config), "gptbook.model.GPT"),
    (MODEL, lambda: gptbook.model.GPT(config), "gptbook.model.GPT"),
    (BOOK, lambda: GPT(config), "gptbook.model.GPT.__init__"),
    (BOOK, lambda: merge_two([1, 2], (1, 2), 3), "gptbook.bpe.merge_pair"),
    (BOOK, lambda: list(map(merge_two, [[1]], [(1, 2)], [3])), "gptbook.bpe.merge_pair"),
    (BOOK, functools.lru_cache(lambda: merge_two([1, 2], (1, 2), 3)), "gptbook.bpe.merge_pair"),
    ((merge_two,), lambda: merge_two([1, 2], (1, 2), 3), "gptbook.bpe.merge_pair"),
    (AUTOGRAD, lambda: of_square().backward(), "Tensor.backward"),
    (AUTOGRAD, lambda: torch.autograd.backward(of_square()), "torch.autograd.backward"),
    (AUTOGRAD, lambda: torch.func.grad(square)(torch.ones(2)), "torch.autograd.grad"),
    (AUTOGRAD, lambda: torch.func.jacrev(square)(torch.ones(2)), "torch.autograd.grad"),
    (AUTOGRAD, lambda: torch.func.jacfwd(square)(torch.ones(2)), "make_dual"),
    (AUTOGRAD, lambda: torch.autograd.functional.jacobian(square, q), "torch.autograd.grad"),
    ((math.prod, sum), lambda: math.prod([1, 2]), "math.prod"),
    ((math.prod, sum), lambda: sum([1, 2]), "sum"),
]

ALLOWED = [
    (LOSSES, lambda: x.exp().sum(1).log() - x[range(3), y]),
    (LOSSES, lambda: -x.softmax(1).log()),
    (BF16, lambda: (x.view(torch.int32) & -65536).view(torch.float32)),
    (ATTENTION, lambda: torch.softmax(q @ q.mT, -1) @ q),
    (MODEL, lambda: nn.Linear(2, 2)(torch.ones(2))),
    (BOOK, lambda: nn.Embedding(2, 2)(torch.tensor([1]))),
    (AUTOGRAD, lambda: 2 * x),
    ((math.prod,), lambda: sum([1, 2])),
]


@pytest.mark.parametrize(("things", "answer", "name"), FORBIDDEN)
def test_what_is_forbidden_is_caught_and_named(things, answer, name):
    probe = Probe(answer)
    with pytest.raises(NotYet) as caught, probe.forbidding(*things):
        probe()
    assert name in str(caught.value)
    assert "not allowed in this exercise" in str(caught.value)


@pytest.mark.parametrize(("things", "answer", "name"), FORBIDDEN)
def test_all_is_restored_afterwards(things, answer, name):
    def profile(*arguments):
        return None

    sys.setprofile(profile)
    try:
        with pytest.raises(NotYet):
            Probe(answer, things)()
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(None)
    assert _get_current_function_mode_stack() == _get_current_dispatch_mode_stack() == []
    Probe(answer)()


@pytest.mark.parametrize(("things", "answer"), ALLOWED)
def test_other_ways_are_allowed(things, answer):
    Probe(answer, things)()


@pytest.mark.parametrize("things", [LOSSES, BF16, BOOK])
def test_all_is_restored_after_an_error_of_the_answer(things):
    with pytest.raises(NotYet, match="ZeroDivisionError"):
        Probe(lambda: x.exp() / (1 / 0), things)()
    assert sys.getprofile() is None
    assert _get_current_function_mode_stack() == _get_current_dispatch_mode_stack() == []


def test_forbidding_ends_with_its_context():
    probe = Probe(lambda: x.logsumexp(1))
    with probe.forbidding(torch.bfloat16):
        probe()
    probe()
    with pytest.raises(NotYet), probe.forbidding(torch.bfloat16), probe.forbidding(torch.logsumexp):
        probe()
    probe()


def test_an_import_inside_an_answer_is_no_call_of_the_book():
    code = """
from gptbook.exercises import Probe
def answer():
    from gptbook.adapters import LoRALinear
    return 1
Probe(answer, ["gptbook"]).expect(1)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_the_check_itself_does_is_not_watched():
    def answer(ids):
        return [id + 1 for id in ids]

    probe = Probe(answer, ["gptbook", torch.logsumexp])
    probe.expect([2, 3], [1, 2])
    with Forbidding("gptbook") as watch:
        answer([1])
    assert not watch.found


@pytest.mark.parametrize(
    "function",
    [
        merge_two,
        functools.partial(merge_two, new_id=3),
        functools.partial(functools.partial(merge_two), new_id=3),
        functools.lru_cache(merge_two),
        functools.wraps(merge_two)(lambda *arguments: merge_two(*arguments)),
        GPT,
        GPT(config),
        GPT(config).forward,
    ],
)
def test_the_books_own_function_is_refused(function):
    assert own_name(function)
    with pytest.raises(NotYet, match="the book's own gptbook"):
        Probe(function)


@pytest.mark.parametrize("function", [len, torch.logsumexp, lambda: 1, Subclass, nn.Linear(2, 2)])
def test_other_functions_are_not_the_books_own(function):
    assert own_name(function) == ""


def test_names_are_those_a_reader_knows():
    things = [torch.logsumexp, Tensor.bfloat16, F.gelu, nn.GELU, GPT, "gptbook", torch.bfloat16]
    assert [name_of(thing) for thing in things] == [
        "torch.logsumexp", "Tensor.bfloat16", "F.gelu", "nn.GELU", "gptbook.model.GPT",
        "gptbook", "torch.bfloat16",
    ]  # fmt: skip
