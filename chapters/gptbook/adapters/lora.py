"""LoRA: the change of a weight as a product of two thin matrices (arXiv 2106.09685); chapter 9."""

import math
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor, nn

from gptbook.adapters.base import Adapter, in_type_of


class LoRALinear(Adapter):
    """y = W x + b + scaling · B A dropout(x), where only A (r, in) and B (out, r) are trained."""

    OPTIONS = ("rank", "alpha", "rank_stabilized", "dropout")

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float,
        dropout: float = 0.0,
        rank_stabilized: bool = False,
    ) -> None:
        if rank < 1:
            raise ValueError(f"rank={rank} must be at least 1")
        super().__init__(base)
        self.rank, self.alpha, self.dropout = rank, alpha, dropout
        self.rank_stabilized = rank_stabilized
        self.scaling = alpha / (math.sqrt(rank) if rank_stabilized else rank)
        self.lora_A = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.lora_B = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))  # as nn.Linear: ± 1 / sqrt(in)

    def adapted(self, x: Tensor) -> Tensor:
        """x (N, in) -> (N, out)."""
        dropped = F.dropout(in_type_of(x, self.lora_A), self.dropout, self.training)
        low, B = dropped @ self.lora_A.T, self.scaling * self.lora_B  # (N, r) and (out, r)
        y = self.base(x)
        # In place, where the types are the same: no second (N, out).
        return y.to(low.dtype).addmm_(low, B.T.to(low.dtype)).to(y.dtype)

    def merged_weight(self) -> Tensor:
        """W + scaling · B A, (out, in)."""
        return self.base.weight + self.scaling * self.lora_B @ self.lora_A

    def peft_config(self) -> dict[str, Any]:
        """What adapter_config.json says of this adapter."""
        config = {"lora_dropout": self.dropout, "use_dora": False}
        config["use_rslora"] = self.rank_stabilized
        return config | {"r": self.rank, "lora_alpha": self.alpha}

    def peft_tensors(self) -> dict[str, Tensor]:
        """A and B, by the names that peft gives them."""
        return {"lora_A.weight": self.lora_A, "lora_B.weight": self.lora_B}

    @classmethod
    def from_peft(cls, base: nn.Linear, config: dict[str, Any]) -> Self | None:
        """LoRA with the options of a config; None if the config says DoRA or MoRA."""
        if config["use_dora"] or config["gptbook"]:
            return None
        options = config["r"], config["lora_alpha"], config["lora_dropout"]
        return cls(base, *options, rank_stabilized=config["use_rslora"])
