"""Checks of chapter 4's exercises."""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptbook.exercises import NotYet, alike, close, drawn, exercise, show
from gptbook.exercises import mistakes_04 as wrong
from gptbook.gpt2 import load_gpt2
from gptbook.model import GPT, GPTConfig
from gptbook.tokenizer import load_tokenizer
from gptbook.world import World


@exercise("4.1", forbid=[F.rms_norm, nn.RMSNorm])
def rms_norm(answer):
    expect = functools.partial(answer.expect, same=alike, mistakes=wrong.RMS_MISTAKES)
    ones = torch.ones(4)
    x = torch.tensor([3.0, 1.0, 1.0, 5.0])
    hint = "The squares are 9, 1, 1 and 25, and their mean is 9."
    expect(x / 3, x, ones, 0.0, hint=hint)
    expect(x / 5, x, ones, 16.0, hint="The mean of the squares is 9, and `eps` is 16 here.")
    weight = torch.tensor([3.0, 6.0, 0.0, 9.0])
    hint = "The mean of the squares is 9; then each number is multiplied by its own weight."
    expect(x / 3 * weight, x, weight, 0.0, hint=hint)
    two = torch.tensor([[1.0, 7.0, 7.0, 1.0], [2.0, 14.0, 2.0, 14.0]])
    hint = "Each row has a mean of its own: 25 and 100."
    expect(two / torch.tensor([[5.0], [10.0]]), two, ones, 0.0, hint=hint)
    zeros = torch.zeros(1, 4)
    expect(zeros, zeros, ones, 1e-5, hint="`eps` keeps 0 from being divided by 0.")
    for shape in [(4,), (2, 3), (3, 3), (2, 5, 8)]:
        x, weight = drawn(shape, shape[-1:])
        wanted = F.rms_norm(3 * x + 1, shape[-1:], weight, 1e-2)
        expect(wanted, 3 * x + 1, weight, 1e-2, hint="The mean goes over the last axis.")


@exercise("4.2", forbid=["gptbook", nn.Module, nn.Parameter])
def num_parameters(answer):
    hint = (
        "Is each part there: two embeddings; in each block qkv, out, up, down, with their biases, "
        "and two norms; the final norm?"
    )
    configs = [
        GPTConfig(vocab_size=10, context_length=5, embed_dim=2, num_layers=3, num_heads=1),
        GPTConfig(50, 16, 12, 3, 4),
        GPTConfig(13, 5, 8, 2, 2, qkv_bias=False),
        GPTConfig(),
    ]
    for config in configs:
        with torch.device("meta"):
            total = sum(p.numel() for p in GPT(config).parameters())
        head = config.vocab_size * config.embed_dim
        for tied, wanted in ((True, total), (False, total + head)):
            answer.expect(wanted, config, tied, hint=hint, mistakes=wrong.COUNT_MISTAKES)


class _Part:
    """A function with a name that a message can show."""

    def __init__(self, name: str, function: Any) -> None:
        self.name, self.function = name, function

    def __call__(self, x: Tensor, cache: Any = None) -> Tensor:
        return self.function(x)

    def __repr__(self) -> str:
        return self.name


class _Parts:
    """A block that has only its parts."""

    def __init__(self, **parts: Any) -> None:
        vars(self).update(parts)

    def __repr__(self) -> str:
        return "block"


SIMPLE = {
    "attention": _Part("10·x", lambda x: 10 * x),
    "norm1": _Part("x + 1", lambda x: x + 1),
    "feed_forward": _Part("100·x", lambda x: 100 * x),
    "norm2": _Part("x + 2", lambda x: x + 2),
}


@exercise("4.3", forbid=[nn.TransformerEncoderLayer])
def post_norm_block(answer):
    hint = "Here attention is 10·x, norm1 is x + 1, feed_forward is 100·x, and norm2 is x + 2."
    block, x = _Parts(**SIMPLE), torch.tensor([[[0, 1, 2]]])
    mistakes = wrong.POST_MISTAKES
    answer.expect(wrong.post_norm(block, x), block, x, hint=hint, same=alike, mistakes=mistakes)
    model = _scaled_up(GPT(GPTConfig(10, 8, 8, 1, 2)))
    [x] = drawn((2, 5, 8))
    block = _Parts(**{name: getattr(model.blocks[0], name) for name in SIMPLE})
    answer.expect(wrong.post_norm(block, x), block, x, same=alike, mistakes=mistakes)


@torch.no_grad()
def _scaled_up(model, seed=0):
    """The model with random weights, all large enough to matter."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model


@torch.no_grad()
def _logits(model, ids, block_function, only=None):
    """What the model computes if its blocks are wired by a function; `only` one, if given."""
    x = model.token_embedding(ids) + model.position_embedding(torch.arange(ids.shape[1]))
    for i, block in enumerate(model.blocks):
        x = block_function(block, x) if only in (None, i) else block(x)
    return model.head(model.final_norm(x))


@exercise("4.4")
def make_parallel(answer):
    model = _scaled_up(GPT(GPTConfig(11, 8, 8, 3, 2)))
    ids = torch.arange(8)[None]
    made = answer(model, hint="A module's forward gets (x, cache); the model is copied first.")
    if not isinstance(made, nn.Module) or not isinstance(getattr(made, "blocks", None), nn.Module):
        raise NotYet(
            f"make_parallel(model) returned {type(made).__name__}; expected a model whose `blocks` "
            "are an nn.ModuleList."
        )
    wanted = _logits(model, ids, _together)
    try:
        logits = made(ids)
    except Exception as error:
        raise NotYet(
            f"The new model, called with ids, raised {type(error).__name__}: {error}. Its blocks "
            "are called as block(x, cache), and return the new x."
        ) from error
    if isinstance(logits, Tensor) and logits.shape == wanted.shape:
        if not torch.allclose(logits, wanted, rtol=1e-4, atol=1e-4):
            raise NotYet(
                f"The new model computes other logits than expected. {_why(logits, model)}"
            )
    else:
        raise NotYet(f"The new model returned {show(logits)} for ids of shape (1, 8).")
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, made))
    if before != after:
        raise NotYet(
            f"The model had {before} parameters, and the new one has {after}. Is each new block a "
            "module that holds the parts of the old one as attributes, and nothing else?"
        )


def _together(block, x):
    return x + block.attention(block.norm1(x)) + block.feed_forward(block.norm2(x))


def _why(logits, model):
    ids = torch.arange(8)[None]
    for mistake, sentence in wrong.PARALLEL_MISTAKES:
        if torch.allclose(logits, _logits(model, ids, mistake), rtol=1e-4, atol=1e-4):
            return sentence
    for i in range(len(model.blocks)):
        if torch.allclose(logits, _logits(model, ids, _together, only=i), rtol=1e-4, atol=1e-4):
            return f"Only block {i} of blocks 0 to {len(model.blocks) - 1} is replaced."
    return "In each block: x + attention(norm1(x)) + feed_forward(norm2(x)), with the old weights."


def _total(config):
    with torch.device("meta"):
        return sum(p.numel() for p in GPT(config).parameters())


@exercise("4.5")
def growth(answer):
    one = _total(GPTConfig())
    deeper, wider = _total(GPTConfig(num_layers=24)) / one, _total(GPTConfig(embed_dim=1536)) / one
    explain = (
        "The embeddings, about a third, do not grow with the number of layers, and grow with D; "
        "the blocks, about two thirds, grow with the number of layers, and with the square of D."
    )
    names = ("the factor for twice the layers", "the factor for twice the width")
    answer.predicts((round(deeper, 2), round(wider, 2)), 0.1, explain, names)


def _new_loss(vocab_size, num_layers):
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size, 64, 128, num_layers, 4))
    ids = torch.randint(vocab_size, (8, 65))
    with torch.no_grad():
        logits = model(ids[:, :-1])
    return round(F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).item(), 2)


@exercise("4.6")
def new_losses(answer):
    with torch.random.fork_rng(devices=[]):
        found = tuple(_new_loss(*sizes) for sizes in [(1000, 4), (1000, 8), (8000, 4)])
    explain = (
        "A new model gives each of the V tokens about the probability 1/V, which costs ln V nats, "
        "whatever the number of layers."
    )
    names = ("`small`", "8 layers", "a vocabulary of 8000")
    answer.predicts(found, 0.1, explain, names)


@functools.cache
def _skipped() -> tuple[int, int]:
    """The blocks of the base model without which the loss is highest, and lowest."""
    model, tokenizer = load_gpt2("book"), load_tokenizer("book")
    stream: list[int] = []
    for document in World().documents(20, "validation"):
        stream += [*tokenizer.encode(document.text), tokenizer.eos_id]
    windows = torch.tensor(stream[: len(stream) // 128 * 128]).view(-1, 128)
    blocks, losses = list(model.blocks), {}
    for number in range(1, len(blocks) + 1):
        model.blocks = nn.ModuleList(blocks[: number - 1] + blocks[number:])
        with torch.no_grad():
            logits = model(windows[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        losses[number] = loss.item()
    return max(losses, key=losses.__getitem__), min(losses, key=losses.__getitem__)


@exercise("4.7")
def skipped(answer):
    hint = (
        "Number the blocks from 1. Is `final_norm` still applied, is only one block left out at a "
        "time, and are the logits of position t compared with the token at t + 1?"
    )
    answer()  # a stub needs no measuring
    names = ("the block without which the loss is highest", "the one without which it is lowest")
    answer.measures(_skipped(), hint=hint, names=names)


@exercise("4.8")
def context_for(answer):
    mistakes = wrong.CONTEXT_MISTAKES
    hint = "At this T, 4·L·T²·D should be the fraction times 2·T·(12·L·D² + V·D) + 4·L·T²·D."
    tiny = GPTConfig(vocab_size=4, context_length=8, embed_dim=1, num_layers=1, num_heads=1)
    cases = [(tiny, 0.75), (tiny, 0.5), (GPTConfig(10, 8, 4, 3, 2), 0.25), (GPTConfig(), 0.5)]
    for config, fraction in cases:
        wanted = wrong.context_for(config, fraction)
        answer.expect(wanted, config, fraction, hint=hint, same=close, mistakes=mistakes)
