"""Chapter 3's attention beside PyTorch's and the package's: results and gradients."""

import pytest
import torch
import torch.nn.functional as F

from gptbook.attention import CausalSelfAttention
from tests.chapters.notebook import taught

chapter = taught(
    "03", "attend", "Heads", "VOCAB", "LENGTH", "BACK", "Toy", "make_batch", "toy_loss"
)


def draw(*shape):
    """Numbers in float64, large enough for clear preferences."""
    return 2 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def results_and_gradients(function, *inputs):
    """What `function` returns, and the gradients of a sum of it with unequal weights."""
    inputs = [part.detach().clone().requires_grad_() for part in inputs]
    y = function(*inputs)
    (y * torch.arange(y.numel(), dtype=y.dtype).view_as(y).sin()).sum().backward()
    return y, [part.grad for part in inputs]


@pytest.mark.parametrize("shape", [(5, 8), (1, 4), (3, 7, 2), (2, 3, 16, 8)])
def test_attend_is_sdpa(shape):
    ours = results_and_gradients(lambda *qkv: chapter.attend(*qkv)[0], *draw(3, *shape))
    theirs = results_and_gradients(
        lambda *qkv: F.scaled_dot_product_attention(
            *(part.view(1, -1, *shape[-2:]) for part in qkv), is_causal=True
        ).view(shape),
        *draw(3, *shape),
    )
    torch.testing.assert_close(ours, theirs)


def test_the_weights_are_those_of_the_result():
    q, k, v = draw(3, 6, 4)
    y, weights = chapter.attend(q, k, v)
    torch.testing.assert_close(weights @ v, y)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(6, dtype=torch.float64))
    assert (weights.triu(1) == 0).all()


@pytest.mark.parametrize("H", [1, 3, 4])
def test_heads_are_the_packages(H):
    torch.manual_seed(0)
    ours, theirs = chapter.Heads(12, H).double(), CausalSelfAttention(12, H).double()
    for parameter in ours.parameters():
        parameter.data.mul_(3)
    theirs.load_state_dict(ours.state_dict())
    x = draw(2, 7, 12)
    torch.testing.assert_close(results_and_gradients(ours, x), results_and_gradients(theirs, x))
    for (name, one), (other, two) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert name == other
        torch.testing.assert_close(one.grad, two.grad)
        assert one.grad.abs().max() > 0.1


def test_heads_are_not_one_head():
    torch.manual_seed(0)
    one, three = chapter.Heads(12, 1).double(), chapter.Heads(12, 3).double()
    three.load_state_dict(one.state_dict())
    x = draw(1, 7, 12)
    assert (one(x) - three(x)).abs().max() > 0.01


def test_the_toy_answers_what_stood_so_many_positions_before():
    ids, targets = chapter.make_batch(3, torch.Generator().manual_seed(0))
    assert ids.shape == (3, chapter.LENGTH)
    for i, distance in enumerate(chapter.BACK):
        assert torch.equal(targets[:, 7:, i], ids[:, 7 - distance : chapter.LENGTH - distance])
    torch.manual_seed(0)
    model = chapter.Toy(4)
    logits = model(ids)
    assert logits.shape == (3, chapter.LENGTH, 4, chapter.VOCAB)
    losses = [
        -logits[b, t, i].log_softmax(dim=0)[targets[b, t, i]]
        for b in range(3)
        for t in range(7, chapter.LENGTH)
        for i in range(4)
    ]
    torch.testing.assert_close(chapter.toy_loss(model, ids, targets), torch.stack(losses).mean())
