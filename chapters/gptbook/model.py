"""The GPT: embeddings, a stack of blocks, a final norm and a tied head; chapter 4 builds it.

The architecture and the initialisation are GPT-2's (Radford et al. 2019).
B batch, T time, D width, V vocabulary.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from gptbook.attention import CausalSelfAttention


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT; the defaults are GPT-2's smallest model with 124 million parameters."""

    vocab_size: int = 50257  # number of different tokens
    context_length: int = 1024  # longest input, in tokens
    embed_dim: int = 768  # width of the residual stream
    num_layers: int = 12  # number of blocks
    num_heads: int = 12  # must divide embed_dim
    dropout: float = 0.0  # share of activations set to zero in training
    qkv_bias: bool = True  # a bias for queries, keys and values


class FeedForward(nn.Module):
    """Two linear layers and a GELU between, for each token alone: (B, T, D) -> (B, T, D)."""

    def __init__(self, embed_dim, dropout=0.0):
        super().__init__()
        self.up = nn.Linear(embed_dim, 4 * embed_dim)
        self.down = nn.Linear(4 * embed_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        return self.dropout(self.down(F.gelu(self.up(x), approximate="tanh")))


class Block(nn.Module):
    """Attention moves information between tokens, the feed-forward network works on each."""

    def __init__(self, config):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.embed_dim)
        self.attention = CausalSelfAttention(
            config.embed_dim, config.num_heads, config.dropout, config.qkv_bias
        )
        self.norm2 = nn.LayerNorm(config.embed_dim)
        self.feed_forward = FeedForward(config.embed_dim, config.dropout)

    def forward(self, x, cache=None):
        x = x + self.attention(self.norm1(x), cache)
        return x + self.feed_forward(self.norm2(x))


class GPT(nn.Module):
    """A decoder-only transformer that gives, for every place, the logits of the next token."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.embed_dim)
        self.position_embedding = nn.Embedding(config.context_length, config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_norm = nn.LayerNorm(config.embed_dim)
        self.head = nn.Linear(config.embed_dim, config.vocab_size, bias=False)
        self.head.weight = (
            self.token_embedding.weight
        )  # tied: one table reads tokens and scores them
        self.apply(self._initialise)

    def _initialise(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, Block):
            # Every block adds to the residual stream twice; shrink those additions so that the
            # variance does not grow with depth (GPT-2, section 2.3).
            for layer in (module.attention.out, module.feed_forward.down):
                nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * self.config.num_layers))

    def forward(self, ids, caches=None):
        """ids (B, T) -> logits (B, T, V).

        With `caches`, one `KVCache` per block, ids are the new tokens only.
        """
        if ids.dim() != 2:
            raise ValueError(f"ids must have the shape (B, T), not {tuple(ids.shape)}")
        # Each object has an id of its own: a cache listed twice, shared by two blocks, counts once.
        if caches is not None and len(set(map(id, caches))) != len(self.blocks):
            raise ValueError(f"{len(self.blocks)} blocks need as many different caches")
        start = caches[0].length if caches else 0
        stop = start + ids.shape[1]
        if stop > self.config.context_length:
            raise ValueError(
                f"{stop} tokens are more than context_length={self.config.context_length}"
            )
        positions = torch.arange(start, stop, device=ids.device)
        x = self.dropout(
            self.token_embedding(ids) + self.position_embedding(positions)
        )  # (B, T, D)
        for i, block in enumerate(self.blocks):
            x = block(x, caches[i] if caches else None)
        return self.head(self.final_norm(x))
