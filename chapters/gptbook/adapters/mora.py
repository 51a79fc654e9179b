"""MoRA: a square matrix in place of two thin ones (arXiv 2405.12130); chapter 11."""

import math
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptbook.adapters.base import Adapter, in_type_of


def square_size(in_features: int, out_features: int, rank: int, kind: str = "sharing") -> int:
    """The size k of a square with about as many weights as LoRA of this rank: k² ≈ (in + out) · r.

    Rounded as in the authors' code; even for "rotation", which turns pairs.

    >>> square_size(4096, 4096, 8), square_size(768, 768, 8), square_size(768, 768, 8, "rotation")
    (256, 111, 110)
    """
    k = int(math.sqrt((in_features + out_features) * rank) + 0.5)
    return k // 2 * 2 if kind == "rotation" else k


class MoRALinear(Adapter):
    """y = W x + b + expand(M compress(dropout(x))), where only M (k, k) is trained.

    The input is cut into groups of k, the last one filled up with the beginning of x. "sharing"
    adds the groups up and repeats what M makes of the sum. "rotation" turns group g by g times an
    angle for each pair, as rotary positions do, applies M to every group, and strings the results
    together; where in > out, groups behind the first `out` positions have no effect.
    """

    OPTIONS = ("rank", "kind", "dropout")

    def __init__(
        self, base: nn.Linear, rank: int, kind: str = "sharing", dropout: float = 0.0
    ) -> None:
        if rank < 1:
            raise ValueError(f"rank={rank} must be at least 1")
        if kind not in ("sharing", "rotation"):
            raise ValueError(f"kind={kind!r} is not 'sharing' or 'rotation'")
        k = square_size(base.in_features, base.out_features, rank, kind)
        if k > base.in_features:
            raise ValueError(f"rank={rank} makes k={k}, more than the {base.in_features} inputs")
        super().__init__(base)
        self.rank, self.kind, self.dropout, self.k = rank, kind, dropout, k
        self.num_groups = math.ceil(base.in_features / k)
        self.matrix = nn.Parameter(base.weight.new_zeros(k, k))

    def angles(self) -> Tensor:
        """By how much each number of each group is turned, in radians: (groups, k) in float32."""
        groups, positions = torch.arange(self.num_groups), torch.arange(0, self.k, 2)
        angles = torch.outer(groups.float(), 10000.0 ** (-positions / self.k))
        return torch.cat([angles, angles], dim=1).to(self.matrix.device)

    def change(self, x: Tensor) -> Tensor:
        """What the adapter adds: x (…, in) -> (…, out)."""
        missing = self.num_groups * self.k - self.base.in_features
        groups = torch.cat([x, x[..., :missing]], dim=-1).unflatten(-1, (self.num_groups, self.k))
        if self.kind == "sharing":
            y = groups.sum(dim=-2) @ self.matrix.T  # (…, k)
        else:
            first, second = groups.chunk(2, dim=-1)
            cos, sin = (part.to(x.dtype) for part in (self.angles().cos(), self.angles().sin()))
            turned = groups * cos + torch.cat([-second, first], dim=-1) * sin
            y = (turned @ self.matrix.T).flatten(-2)  # (…, groups · k)
        times = math.ceil(self.base.out_features / y.shape[-1])
        return torch.cat([y] * times, dim=-1)[..., : self.base.out_features]

    def adapted(self, x: Tensor) -> Tensor:
        """x (N, in) -> (N, out)."""
        y, dropped = self.base(x), F.dropout(x, self.dropout, self.training)
        return (y + self.change(in_type_of(dropped, self.matrix))).to(y.dtype)

    def merged_weight(self) -> Tensor:
        """W plus the change of each unit vector, (out, in)."""
        return self.base.weight + self.dense_change()

    def dense_change(self) -> Tensor:
        """The change as a matrix (out, in): what it makes of each unit vector."""
        return self.change(torch.eye(self.base.in_features).to(self.matrix)).T

    @torch.no_grad()
    def as_lora(self) -> tuple[Tensor, Tensor]:
        """Two factors (A, B) whose product B A is the change: a LoRA of higher rank."""
        inputs, outputs = self.base.in_features, self.base.out_features
        if self.kind == "sharing":
            positions = torch.arange(self.num_groups * self.k, device=self.matrix.device)
            compress = self.matrix.new_zeros(self.k, inputs)
            compress.index_put_(  # row j has a 1 for each input that stands at j, j + k, …
                (positions % self.k, positions % inputs), self.matrix.new_ones(1), accumulate=True
            )
            rows = torch.arange(outputs, device=self.matrix.device) % self.k
            return compress, self.matrix[rows]
        change, unit = self.dense_change(), torch.eye(min(inputs, outputs)).to(self.matrix)
        return (unit, change) if inputs <= outputs else (change, unit)

    @torch.no_grad()
    def from_lora(self, A: Tensor, B: Tensor) -> None:
        """Take the matrix out of the factors that `as_lora` made."""
        if self.kind == "sharing":
            rows = B[: self.k]
        else:
            rows = (B if self.base.in_features <= self.base.out_features else A)[: self.k, : self.k]
        self.matrix.zero_()  # where k > out, rows that reach no output never move from 0
        self.matrix[: len(rows)] = rows

    def peft_config(self) -> dict[str, Any]:
        """What adapter_config.json says of this adapter: a LoRA, and the MoRA that it is."""
        rank = min(self.base.in_features, self.base.out_features)
        if self.kind == "sharing":
            rank = self.k
        about = "MoRA, written as the LoRA of a higher rank that does the same"
        return {
            "lora_dropout": self.dropout, "use_dora": False, "use_rslora": False,
            "r": rank, "lora_alpha": rank,
            "gptbook": {"about": about, "rank": self.rank, "kind": self.kind},
        }  # fmt: skip

    def peft_tensors(self) -> dict[str, Tensor]:
        """The two factors, by the names that peft gives them."""
        A, B = self.as_lora()
        return {"lora_A.weight": A, "lora_B.weight": B}

    @classmethod
    def from_peft(cls, base: nn.Linear, config: dict[str, Any]) -> Self | None:
        """MoRA with the options of a config; None if the config does not say MoRA."""
        if not (mora := config["gptbook"]):
            return None
        return cls(base, mora["rank"], mora["kind"], config["lora_dropout"])

    def load_peft(self, tensors: dict[str, Tensor]) -> None:
        """Take over the two factors; ValueError if they are not those of a MoRA."""
        self.from_lora(tensors["lora_A.weight"], tensors["lora_B.weight"])
        for name, tensor in self.peft_tensors().items():  # products, rounded again: not exact
            if (tensor - tensors[name].to(tensor)).norm() > 0.01 * tensor.norm():
                raise ValueError("the tensors are not those of MoRA")
