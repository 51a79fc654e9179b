"""Attention: two blocks beside PyTorch's function, which of them is used, and the cache."""

import pytest
import torch
import torch.nn.functional as F

import gptbook.device  # noqa: F401  keeps broken AMX instructions from ending the tests in bf16
from gptbook.attention import (
    CausalSelfAttention,
    KVCache,
    causal_attention,
    two_block_attention,
)


def heads(T, dtype=torch.float64):
    """Queries, keys and values (2, 3, T, 8), large enough for clear preferences."""
    generator = torch.Generator().manual_seed(T)
    shape = (3, 2, 3, T, 8)
    return (2 * torch.randn(shape, dtype=torch.float64, generator=generator)).to(dtype)


def sdpa(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


@pytest.mark.parametrize("T", [1, 2, 3, 16, 17])
def test_two_blocks_give_what_pytorch_gives(T):
    results = []
    for function in (two_block_attention, sdpa):
        qkv = heads(T).requires_grad_()
        y = function(*qkv)
        (y * torch.arange(y.numel()).view_as(y).sin()).sum().backward()
        results.append((y, qkv.grad))
    for ours, wanted in zip(*results, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-10, atol=1e-12)
    assert results[0][1].abs().max() > 0.1 or T == 1


def test_two_blocks_are_about_as_exact_as_pytorch_in_bf16():
    exact = sdpa(*heads(64))
    qkv = heads(64, torch.bfloat16)
    ours, theirs = (
        (function(*qkv).double() - exact).square().mean().sqrt()
        for function in (two_block_attention, sdpa)
    )
    assert ours < 2 * theirs


@pytest.fixture
def blocks_used(monkeypatch):
    """How often the two blocks were used."""
    calls = []

    def spy(*qkv):
        calls.append(1)
        return two_block_attention(*qkv)

    monkeypatch.setattr("gptbook.attention.two_block_attention", spy)
    return calls


def test_two_blocks_are_used_for_bf16_without_dropout_only(blocks_used):
    causal_attention(*heads(16, torch.float32))
    causal_attention(*heads(16, torch.bfloat16), dropout=0.5)
    q, k, v = heads(16, torch.bfloat16)
    causal_attention(q[:, :, -5:], k, v)
    assert blocks_used == []
    y = causal_attention(q, k, v)
    assert blocks_used == [1]
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), sdpa(*heads(16)), rtol=0.05, atol=0.1)


@pytest.mark.parametrize("T", [1, 5, 16])
def test_the_last_queries_see_what_they_see_among_all(T):
    q, k, v = heads(16)
    torch.testing.assert_close(
        causal_attention(q[:, :, 16 - T :], k, v), sdpa(q, k, v)[:, :, 16 - T :]
    )


def test_dropout_leaves_out_weights_and_keeps_their_mean():
    torch.manual_seed(0)
    q, k, v = (part.expand(2000, 2, 3, 6, 8).flatten(0, 1) for part in heads(6))
    dropped = causal_attention(q, k, v, dropout=0.25)
    wanted = sdpa(q, k, v)
    assert not torch.allclose(dropped, wanted)
    torch.testing.assert_close(
        dropped.unflatten(0, (2000, 2)).mean(0), wanted[:2], rtol=0, atol=0.15
    )
    alone = dropped[:, :, 0] / wanted[:, :, 0]  # the first token sees only itself: all or nothing
    assert ((alone.abs() < 1e-9) | ((alone - 1 / 0.75).abs() < 1e-9)).all()


def test_weights_are_dropped_in_training_only(monkeypatch):
    shares = []

    def spy(q, k, v, dropout):
        shares.append(dropout)
        return causal_attention(q, k, v, dropout)

    monkeypatch.setattr("gptbook.attention.causal_attention", spy)
    layer = CausalSelfAttention(12, 3, dropout=0.5)
    layer(torch.randn(1, 4, 12))
    layer.eval()(torch.randn(1, 4, 12))
    assert shares == [0.5, 0.0]


def test_heads_are_cut_from_qkv_as_in_gpt2():
    torch.manual_seed(0)
    layer = CausalSelfAttention(12, 3).double()
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    q, k, v = layer.qkv(x).split(12, dim=-1)
    wanted = []
    for h in range(3):  # each head by hand
        part = slice(4 * h, 4 * h + 4)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / 2
        scores = scores.masked_fill(torch.ones(7, 7).triu(1).bool(), -torch.inf)
        wanted.append(scores.softmax(-1) @ v[..., part])
    torch.testing.assert_close(layer(x), layer.out(torch.cat(wanted, dim=-1)))


def test_the_cache_gives_back_all_that_it_was_given():
    keys, values = torch.randn(2, 2, 3, 6, 4)
    cache = KVCache(6)
    for start, stop in ((0, 3), (3, 4), (4, 6)):
        k, v = cache.append(keys[:, :, start:stop], values[:, :, start:stop])
        assert torch.equal(k, keys[:, :, :stop])
        assert torch.equal(v, values[:, :, :stop])
        assert cache.length == stop


@pytest.mark.parametrize("shape", [(1, 3, 1, 4), (2, 2, 1, 4), (2, 3, 1, 5)])
def test_a_cache_takes_no_other_batch_heads_or_width(shape):
    cache = KVCache(6)
    cache.append(torch.zeros(2, 3, 2, 4), torch.zeros(2, 3, 2, 4))
    with pytest.raises((ValueError, RuntimeError), match=r"texts cannot go on|expanded size"):
        cache.append(torch.zeros(shape), torch.zeros(shape))
    assert cache.length == 2
