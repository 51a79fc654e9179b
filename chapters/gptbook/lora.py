"""LoRA: the change of a weight as a product of two thin matrices (arXiv 2106.09685); chapter 7."""

import math

import torch.nn.functional as F
from torch import nn

from gptbook.adapter import Adapter


class LoRALinear(Adapter):
    """y = W x + b + scaling · B A dropout(x), where only A (r, in) and B (out, r) are trained."""

    def __init__(self, base, rank, alpha, dropout=0.0, rank_stabilized=False):
        if rank < 1:
            raise ValueError(f"rank={rank} must be at least 1")
        super().__init__(base)
        weight = base.weight
        self.lora_A = nn.Parameter(weight.new_empty(rank, base.in_features))
        self.lora_B = nn.Parameter(weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))  # as nn.Linear: ± 1 / sqrt(in)
        self.rank, self.alpha, self.dropout = rank, alpha, dropout
        self.rank_stabilized = rank_stabilized
        self.scaling = alpha / (math.sqrt(rank) if rank_stabilized else rank)

    def forward(self, x):
        """x (…, in) -> (…, out)."""
        if self.merged:
            return self.base(x)
        rows = x.reshape(-1, self.base.in_features)
        low = F.dropout(rows, self.dropout, self.training) @ self.lora_A.T  # (rows, r)
        y = self.base(rows)
        # In place: makes no further table.
        y.addmm_(low, (self.scaling * self.lora_B).T.to(y.dtype))
        return y.view(*x.shape[:-1], self.base.out_features)

    def merged_weight(self):
        """W + scaling · B A, (out, in)."""
        return self.base.weight + self.scaling * self.lora_B @ self.lora_A
