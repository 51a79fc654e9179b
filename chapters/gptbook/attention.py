"""Causal multi-head self-attention and the cache of keys and values; chapter 3 builds it.

Vaswani et al., arXiv 1706.03762; the weights lie as in GPT-2.
B batch, T time, D width, H heads.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


class KVCache:
    """The keys and values of the tokens so far, for one layer and up to `max_length` tokens."""

    def __init__(self, max_length: int) -> None:
        self.max_length, self.length = max_length, 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of T new tokens, each (B, H, T, D/H); return all, each (B, H, length, D/H)."""
        start, stop = self.length, self.length + k.shape[2]
        keys, values = self._room_for(k, stop)
        keys[:, :, start:stop] = k
        values[:, :, start:stop] = v
        self.length = stop
        return keys[:, :, :stop], values[:, :, :stop]

    def _room_for(self, k: Tensor, stop: int) -> tuple[Tensor, Tensor]:
        """The memory for keys and values; ValueError if those of new tokens do not fit into it."""
        if self.keys is None or self.values is None:
            B, H, _, head_dim = k.shape
            self.keys = k.new_empty(B, H, self.max_length, head_dim)
            self.values = torch.empty_like(self.keys)
        if stop > self.max_length:
            raise ValueError(f"{stop} tokens do not fit into a cache for {self.max_length}")
        if len(k) != len(self.keys):  # one text would be copied to all
            raise ValueError(f"{len(k)} texts cannot go on in a cache for {len(self.keys)}")
        return self.keys, self.values


def causal_attention(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """Causal scaled dot-product attention.

    q (B, H, T, D/H), k and v (B, H, S, D/H) -> (B, H, T, D/H), where S >= T: the queries are those
    of the last T positions. Each attends to the positions up to its own.
    """
    T, S = q.shape[2], k.shape[2]
    if q.dtype == torch.bfloat16 and q.device.type == "cpu" and S == T and dropout == 0:
        return two_block_attention(q, k, v)
    if S == T:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
    mask = None  # a single token may look at all
    if T > 1:  # query t is at position S - T + t
        mask = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T)
    return F.scaled_dot_product_attention(q, k, v, mask, dropout)


def two_block_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same for q, k and v (B, H, T, D/H) in plain products, one half of the queries at a time.

    PyTorch's own function is slow for bfloat16 on a CPU, slower than these products, although they
    keep all weights. The first half of the queries needs only the first half of the keys.
    """
    T = q.shape[2]
    q = q / math.sqrt(q.shape[3])
    halves = []
    for start, stop in ((0, T // 2), (T // 2, T)):
        future = q.new_full((stop - start, stop), -torch.inf).triu(start + 1)
        scores = q[:, :, start:stop] @ k[:, :, :stop].transpose(2, 3) + future  # (B, H, T/2, stop)
        halves.append(scores.softmax(dim=-1) @ v[:, :, :stop])
    return torch.cat(halves, dim=2)


class CausalSelfAttention(nn.Module):
    """Every token gathers, in several heads, a weighted average over itself and its past."""

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, qkv_bias: bool = True
    ) -> None:
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"embed_dim={embed_dim} is not divisible by num_heads={num_heads}")
        self.num_heads, self.dropout = num_heads, dropout
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim, bias=qkv_bias)
        self.out = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        """x (B, T, D) -> (B, T, D). With a `KVCache`, x holds only the new tokens."""
        B, T, D = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.num_heads, -1)  # three times (H, D/H) for each token
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))  # each (B, H, T, D/H)
        if cache is not None:
            k, v = cache.append(k, v)  # each (B, H, S, D/H): S = T new tokens and those before
        y = causal_attention(q, k, v, self.dropout if self.training else 0.0)  # (B, H, T, D/H)
        y = y.transpose(1, 2).reshape(B, T, D)
        return F.dropout(self.out(y), self.dropout, self.training)
