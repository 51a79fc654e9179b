"""Chapter 4's small versions beside PyTorch's parts, the package's GPT and transformers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gptbook.exercises.mistakes_04 import post_norm
from gptbook.model import GPT, Block, GPTConfig
from tests.chapters.notebook import taught
from tests.helpers import CONFIG, assert_same_gradients

chapter = taught(
    "04", "layer_norm", "gelu", "FeedForward", "WIRINGS", "Stack", "PlainBlock", "PlainGPT",
    "start_small", "count_parts", "forward_flops",
)  # fmt: skip


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(shape, dtype=torch.float64, generator=generator)


def results_and_gradients(function, *inputs):
    """What `function` returns, and the gradients of a sum of it with unequal weights."""
    inputs = [part.detach().clone().requires_grad_() for part in inputs]
    y = function(*inputs)
    (y * torch.arange(y.numel(), dtype=y.dtype).view_as(y).sin()).sum().backward()
    return y, [part.grad for part in inputs]


def scaled_up(module):
    """The module in float64, with weights so large that a wrong detail cannot hide."""
    torch.manual_seed(0)
    module = module.double()
    for parameter in module.parameters():
        parameter.data.mul_(4).add_(0.3 * torch.randn_like(parameter))
    return module


def test_layer_norm_is_pytorchs():
    inputs = draw(3, 5, 16), draw(16, seed=1), draw(16, seed=2)
    ours = results_and_gradients(chapter.layer_norm, *inputs)
    theirs = results_and_gradients(lambda x, w, b: F.layer_norm(x, (16,), w, b), *inputs)
    torch.testing.assert_close(ours, theirs)
    other = results_and_gradients(lambda x, w, b: F.layer_norm(x, (16,), w, b, 1e-4), *inputs)
    assert (ours[0] - other[0]).abs().max() > 1e-6  # a wrong epsilon would be seen


def test_gelu_is_pytorchs_approximation():
    x = torch.linspace(-8, 8, 400, dtype=torch.float64)
    ours = results_and_gradients(chapter.gelu, x)
    torch.testing.assert_close(
        ours, results_and_gradients(lambda x: F.gelu(x, approximate="tanh"), x)
    )
    assert (ours[0] - F.gelu(x)).abs().max() > 1e-4


@pytest.mark.parametrize("wiring", ["plain", "norm only", "residual only", "pre-norm", "post-norm"])
def test_the_wirings_do_what_they_are_called(wiring):
    x, f, norm = torch.tensor(1.0), lambda x: 10 * x, lambda x: x + 100
    wanted = {
        "plain": 10,
        "norm only": 1010,
        "residual only": 11,
        "pre-norm": 1011,
        "post-norm": 111,
    }
    assert chapter.WIRINGS[wiring](x, f, norm) == wanted[wiring]


def test_a_stack_wires_all_its_layers():
    stack = scaled_up(chapter.Stack("pre-norm", depth=3, width=8, scale=2.0))
    x = draw(4, 8)
    y = x
    for layer, norm in zip(stack.layers, stack.norms, strict=True):
        y = y + layer(norm(y))
    torch.testing.assert_close(stack.stream(x)[-1], y)
    torch.testing.assert_close(stack(x), stack.answer(stack.end(y)))
    assert isinstance(stack.end, nn.LayerNorm)
    assert isinstance(chapter.Stack("post-norm").end, nn.Identity)


def torch_block(block, norm_first):
    """PyTorch's block with the weights of ours, and a causal mask."""
    width = block.norm1.weight.numel()
    theirs = nn.TransformerEncoderLayer(
        width, 4, 4 * width, 0.0, lambda x: F.gelu(x, approximate="tanh"),
        norm_first=norm_first, batch_first=True,
    ).double()  # fmt: skip
    renamed = {
        "self_attn.in_proj_weight": block.attention.qkv.weight,
        "self_attn.in_proj_bias": block.attention.qkv.bias,
    }
    parts = [
        ("norm1", block.norm1),
        ("norm2", block.norm2),
        ("self_attn.out_proj", block.attention.out),
        ("linear1", block.feed_forward.up),
        ("linear2", block.feed_forward.down),
    ]
    for name, part in parts:
        renamed |= {f"{name}.weight": part.weight, f"{name}.bias": part.bias}
    theirs.load_state_dict(renamed)
    return lambda x: theirs(x, src_mask=torch.ones(x.shape[1], x.shape[1]).triu(1).bool())


def test_the_block_is_the_packages_and_pytorchs():
    block = scaled_up(chapter.PlainBlock(32, 4))
    packages = Block(CONFIG).double()
    packages.load_state_dict(block.state_dict())
    ours = results_and_gradients(block, draw(2, 7, 32))
    torch.testing.assert_close(ours, results_and_gradients(packages, draw(2, 7, 32)))
    pytorchs = results_and_gradients(torch_block(block, True), draw(2, 7, 32))
    torch.testing.assert_close(ours, pytorchs)
    post = results_and_gradients(torch_block(block, False), draw(2, 7, 32))
    assert (ours[0] - post[0]).abs().max() > 0.1


def test_what_exercise_3_expects_is_pytorchs_post_norm_block():
    block = scaled_up(chapter.PlainBlock(32, 4))
    ours = results_and_gradients(lambda x: post_norm(block, x), draw(2, 7, 32))
    torch.testing.assert_close(
        ours, results_and_gradients(torch_block(block, False), draw(2, 7, 32))
    )


def loss(logits, ids):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:])


def test_the_gpt_is_the_packages_and_that_of_transformers(pair):
    model, reference = pair
    ours = chapter.PlainGPT(CONFIG).double()
    ours.load_state_dict(model.state_dict())
    ids = torch.randint(97, (3, 24), generator=torch.Generator().manual_seed(1))
    logits = ours(ids)
    torch.testing.assert_close(logits, model(ids), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(logits, reference(ids).logits, rtol=1e-10, atol=1e-10)
    assert logits.abs().max() > 5  # the weights are large enough to tell
    loss(logits, ids).backward()
    loss(model(ids), ids).backward()
    loss(reference(ids).logits, ids).backward()
    assert_same_gradients(ours, reference, rtol=1e-9)
    gradients = dict(model.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, rtol=1e-9, atol=1e-10)


def test_the_comparison_would_see_a_post_norm_block(pair):
    model, _ = pair
    ours = chapter.PlainGPT(CONFIG).double()
    ours.load_state_dict(model.state_dict())
    ours.blocks[1].forward = lambda x: post_norm(ours.blocks[1], x)
    ids = torch.arange(24)[None]
    assert (ours(ids) - model(ids)).abs().max() > 0.1


def test_a_new_model_starts_as_the_packages():
    """The same spread of each matrix; norms at 1 and biases at 0."""
    config = GPTConfig(500, 64, 128, num_layers=8, num_heads=4)
    torch.manual_seed(0)
    ours, model = chapter.PlainGPT(config), GPT(config)
    chapter.start_small(ours)
    theirs = dict(model.named_parameters())
    assert dict(ours.named_parameters()).keys() == theirs.keys()
    for name, parameter in ours.named_parameters():
        if name.endswith("bias") or "norm" in name:
            assert torch.equal(parameter, theirs[name])
        else:
            assert parameter.std().item() == pytest.approx(theirs[name].std().item(), rel=0.05)
            assert abs(parameter.mean().item()) < 0.001


def test_the_counts_are_those_of_the_class():
    for config in (CONFIG, GPTConfig(50, 16, 12, 2, 4)):
        model = GPT(config)
        parts = chapter.count_parts(config)
        assert sum(parts.values()) == sum(p.numel() for p in model.parameters())
        in_blocks = {"attention": 0, "feed_forward": 0}
        for name, parameter in model.blocks.named_parameters():
            part = name.split(".")[1]
            if part in in_blocks:
                in_blocks[part] += parameter.numel()
        assert parts["attention"] == in_blocks["attention"]
        assert parts["feed-forward"] == in_blocks["feed_forward"]


def test_flops_by_hand():
    """One block of width 1, two tokens, three words: 2·2·(12 + 3) and 4·4."""
    assert chapter.forward_flops(GPTConfig(3, 2, 1, 1, 1), 2) == (60, 16)
