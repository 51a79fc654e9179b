"""The GPT: embeddings, a stack of blocks, a final norm and a tied head; chapter 4 builds it.

The architecture and the initialisation are GPT-2's (Radford et al. 2019).
B batch, T time, D width, V vocabulary.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from gptbook.attention import CausalSelfAttention, KVCache


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT; the defaults are GPT-2's smallest model with 124 million parameters."""

    vocab_size: int = 50257  # number of different tokens
    context_length: int = 1024  # longest input, in tokens
    embed_dim: int = 768  # width of the residual stream
    num_layers: int = 12  # number of blocks
    num_heads: int = 12  # must divide embed_dim
    dropout: float = 0.0  # fraction of activations set to zero in training
    qkv_bias: bool = True  # a bias for queries, keys and values


class FeedForward(nn.Module):
    """Two linear layers and a GELU between, for each token alone: (B, T, D) -> (B, T, D)."""

    def __init__(self, embed_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.up = nn.Linear(embed_dim, 4 * embed_dim)
        self.down = nn.Linear(4 * embed_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.down(F.gelu(self.up(x), approximate="tanh")))


class Block(nn.Module):
    """Attention moves information between tokens, the feed-forward network works on each."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.embed_dim)
        self.attention = CausalSelfAttention(
            config.embed_dim, config.num_heads, config.dropout, config.qkv_bias
        )
        self.norm2 = nn.LayerNorm(config.embed_dim)
        self.feed_forward = FeedForward(config.embed_dim, config.dropout)

    def forward(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        x = x + self.attention(self.norm1(x), cache)
        return x + self.feed_forward(self.norm2(x))


class GPT(nn.Module):
    """A decoder-only transformer that gives, for every position, the logits of the next token."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.embed_dim)
        self.position_embedding = nn.Embedding(config.context_length, config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_norm = nn.LayerNorm(config.embed_dim)
        self.head = nn.Linear(config.embed_dim, config.vocab_size, bias=False)
        self.head.weight = self.token_embedding.weight  # tied: the same matrix reads and scores
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, Block):
            # Every block adds to the residual stream twice; shrink those additions so that the
            # variance does not grow with depth (GPT-2, section 2.3).
            for layer in (module.attention.out, module.feed_forward.down):
                nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * self.config.num_layers))

    def forward(self, ids: Tensor, caches: list[KVCache] | None = None) -> Tensor:
        """ids (B, T) -> logits (B, T, V).

        With `caches`, one for each block, ids are the new tokens only; `generate` makes them.
        """
        start = caches[0].length if caches else 0
        check_ids(ids, start, self.config.context_length)
        positions = torch.arange(start, start + ids.shape[1], device=ids.device)
        x = self.token_embedding(ids) + self.position_embedding(positions)  # (B, T, D)
        x = self.dropout(x)
        for i, block in enumerate(self.blocks):
            x = block(x, None if caches is None else caches[i])
        return self.head(self.final_norm(x))


def check_ids(ids: Tensor, start: int, context_length: int) -> None:
    """Raise ValueError unless ids are (B, T) and fit into the context behind `start` others."""
    if ids.dim() != 2:
        raise ValueError(f"ids must have the shape (B, T), not {tuple(ids.shape)}")
    if (stop := start + ids.shape[1]) > context_length:
        raise ValueError(f"{stop} tokens are more than context_length={context_length}")
