"""Mistakes that can be foreseen in chapter 4's exercises, each with what the check then says.

Each list holds (wrong answer, sentence); the right answer stands before it where that is short.
"""

import torch
import torch.nn.functional as F


def _normed(x, weight, eps, axis=-1, keepdim=True, root=True):
    size = (x**2).mean(axis, keepdim=keepdim) + eps
    return x / (size.sqrt() if root else size) * weight


RMS_MISTAKES = [
    (
        lambda x, w, eps: _normed(x, torch.ones_like(w), eps),
        "Each number is also multiplied by its own `weight`.",
    ),
    (lambda x, w, eps: _normed(x, w, 0.0), "`eps` is not in it yet."),
    (
        lambda x, w, eps: x / ((x**2).mean(-1, keepdim=True).sqrt() + eps) * w,
        "`eps` is added to the mean of the squares, under the root, not to the root.",
    ),
    (lambda x, w, eps: _normed(x, w, eps, root=False), "The root is missing."),
    (
        lambda x, w, eps: x / ((x**2).sum(-1, keepdim=True) + eps).sqrt() * w,
        "You divide by the vector's norm, the root of the sum of the squares. Take their mean.",
    ),
    (
        lambda x, w, eps: F.layer_norm(x, x.shape[-1:], w, eps=eps),
        "That is layer norm: here, the mean is not subtracted.",
    ),
    (
        lambda x, w, eps: x / (x.var(-1, keepdim=True) + eps).sqrt() * w,
        "The variance is about the mean; here, the squares of the numbers themselves count.",
    ),
    (
        lambda x, w, eps: x / ((x**2).mean() + eps).sqrt() * w,
        "You took one mean over all vectors; each vector has its own, over the last axis.",
    ),
    (
        lambda x, w, eps: _normed(x, w, eps, axis=0),
        "You took the mean over the first axis: each vector has its own, over the last axis.",
    ),
    (
        lambda x, w, eps: _normed(x, w, eps, keepdim=False),
        "Each vector is to be divided by its own number: the mean needs `keepdim=True`, so that "
        "its shape is (…, 1).",
    ),
]


def count(config, tied, qkv_bias=None, norms=2, final=2, other_biases=6):
    """The parameters of a GPT, and what they would be with other numbers of some parts."""
    V, C, D, L = config.vocab_size, config.context_length, config.embed_dim, config.num_layers
    qkv_bias = (3 if config.qkv_bias else 0) if qkv_bias is None else qkv_bias
    block = 12 * D * D + (other_biases + qkv_bias + 2 * norms) * D
    return (V if tied else 2 * V) * D + C * D + L * block + final * D


COUNT_MISTAKES = [
    (
        lambda c, tied: count(c, False),
        "Tied, the output head has no matrix of its own; only untied, it adds one.",
    ),
    (lambda c, tied: count(c, True), "Untied, the output head has V·D parameters of its own."),
    (
        lambda c, tied: count(c, tied) + (0 if tied else c.vocab_size),
        "The output head has no bias.",
    ),
    (
        lambda c, tied: count(c, tied, qkv_bias=3),
        "With qkv_bias=False, queries, keys and values have no bias.",
    ),
    (
        lambda c, tied: count(c, tied, qkv_bias=0),
        "With qkv_bias=True, queries, keys and values have a bias, 3·D numbers in each block.",
    ),
    (
        lambda c, tied: count(c, tied, other_biases=6 if c.qkv_bias else 0),
        "Only queries, keys and values lose their bias: `out`, `up` and `down` keep theirs.",
    ),
    (
        lambda c, tied: count(c, tied, qkv_bias=3 if c.qkv_bias else 2),
        "The bias of `qkv` has three parts: for queries, keys and values.",
    ),
    (lambda c, tied: count(c, tied, final=0), "The final norm is missing."),
    (
        lambda c, tied: count(c, tied, norms=1),
        "Each block has two norms, each with a weight and a bias.",
    ),
    (
        lambda c, tied: count(c, tied) - c.context_length * c.embed_dim,
        "The position embedding is missing.",
    ),
]


def post_norm(b, x):
    x = b.norm1(x + b.attention(x))
    return b.norm2(x + b.feed_forward(x))


def pre_norm(b, x):
    x = x + b.attention(b.norm1(x))
    return x + b.feed_forward(b.norm2(x))


def _branch_norm(b, x):
    x = x + b.norm1(b.attention(x))
    return x + b.norm2(b.feed_forward(x))


def _no_residual(b, x):
    return b.norm2(b.feed_forward(b.norm1(b.attention(x))))


def _swapped(b, x):
    x = b.norm2(x + b.attention(x))
    return b.norm1(x + b.feed_forward(x))


def _old_stream(b, x):
    y = b.norm1(x + b.attention(x))
    return b.norm2(x + b.feed_forward(y))


def _one_norm(b, x):
    x = b.norm1(x + b.attention(x))
    return x + b.feed_forward(x)


def _both_at_once(b, x):
    return b.norm2(x + b.attention(x) + b.feed_forward(x))


def _feed_first(b, x):
    x = b.norm2(x + b.feed_forward(x))
    return b.norm1(x + b.attention(x))


POST_MISTAKES = [
    (pre_norm, "That is pre-norm, as in GPT-2. Here, the norm comes after the addition."),
    (_branch_norm, "You norm what is added; here, the norm is taken of the sum."),
    (_no_residual, "The residual connections are missing: each branch is added to what it reads."),
    (_swapped, "`norm1` comes after the attention, `norm2` after the feed-forward network."),
    (_old_stream, "The second branch adds to what the first norm has made, not to the old x."),
    (_one_norm, "There are two norms, one after each addition."),
    (_both_at_once, "The branches come one after the other: the second reads what norm1 has made."),
    (_feed_first, "Attention comes first, then the feed-forward network."),
]


PARALLEL_MISTAKES = [
    (pre_norm, "This is what the model computed before: the blocks are still the old ones."),
    (
        lambda b, x: b.attention(b.norm1(x)) + b.feed_forward(b.norm2(x)),
        "The residual connection is missing: x itself is added, too.",
    ),
    (
        lambda b, x: x + b.attention(b.norm1(x)) + b.feed_forward(b.norm1(x)),
        "The feed-forward network reads x through norm2, not norm1.",
    ),
    (
        lambda b, x: 2 * x + b.attention(b.norm1(x)) + b.feed_forward(b.norm2(x)),
        "x is added once, not twice.",
    ),
    (
        lambda b, x: x + b.attention(x) + b.feed_forward(x),
        "The norms are missing.",
    ),
]


def context_for(config, fraction):
    V, D, L = config.vocab_size, config.embed_dim, config.num_layers
    return fraction * (12 * L * D + V) / (2 * L * (1 - fraction))


def _against_weights(config, fraction):
    V, D, L = config.vocab_size, config.embed_dim, config.num_layers
    return fraction * (12 * L * D + V) / (2 * L)


def _without_head(config, fraction):
    return fraction * 6 * config.embed_dim / (1 - fraction)


CONTEXT_MISTAKES = [
    (
        _against_weights,
        "This is where attention's products are that fraction of the *other* FLOPs; it should "
        "be the fraction of all.",
    ),
    (_without_head, "The output head's product, V·D, is missing."),
    (
        lambda c, f: context_for(c, 1 - f),
        "This is where the products *with* weights take that fraction.",
    ),
    (
        lambda c, f: 2 * context_for(c, f),
        "Attention has two products without weights: together 4·L·T²·D FLOPs.",
    ),
    (
        lambda c, f: context_for(c, f) / 2,
        "Each weight costs 2 FLOPs per token, a multiplication and an addition.",
    ),
]
