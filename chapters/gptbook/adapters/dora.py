"""DoRA: magnitude and direction of a weight are trained apart (arXiv 2402.09353); chapter 10."""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptbook.adapters.base import in_type_of
from gptbook.adapters.in_place import scale_and_shift
from gptbook.adapters.lora import LoRALinear


class DoRALinear(LoRALinear):
    """LoRA changes the direction of each row of the weight, `magnitude` (out,) is its norm.

    V = W + scaling · B A; the weight is magnitude · V / ‖V‖, row by row. The norm ‖V‖ counts as a
    constant in the gradient (section 4.3 of the paper).
    """

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        alpha: float,
        dropout: float = 0.0,
        rank_stabilized: bool = False,
    ) -> None:
        super().__init__(base, rank, alpha, dropout, rank_stabilized)
        self.magnitude = nn.Parameter(self.row_norms())  # B is zero: the norms of W

    @torch.no_grad()
    def row_norms(self) -> Tensor:
        """‖V‖ of each row (out,), without making V; never 0. Computed in float32 at least.

        ‖W + sBA‖² = ‖W‖² + 2s · W A^T · B + s² · B (A A^T) · B, row by row.
        """
        W, s = self.base.weight, self.scaling
        exact = torch.promote_types(W.dtype, torch.float32)  # bf16 has but three digits
        A, B = self.lora_A.to(exact), self.lora_B.to(exact)
        with torch.autocast(W.device.type, enabled=False):
            squares = torch.linalg.vector_norm(W, dim=1, dtype=exact) ** 2
            squares += 2 * s * (B * (W.to(exact) @ A.T)).sum(dim=1)
            squares += s**2 * (B * (B @ (A @ A.T))).sum(dim=1)
        return squares.clamp(min=1e-12).sqrt().to(W.dtype)

    def adapted(self, x: Tensor) -> Tensor:
        """magnitude / ‖V‖ · V x + b: x (N, in) -> (N, out)."""
        W, b = self.base.weight, self.base.bias
        shift = W.new_zeros(len(W)) if b is None else b
        scale = self.magnitude / self.row_norms()  # (out,): 1 in the beginning
        if not (self.training or torch.is_grad_enabled()):
            return self._without_gradients(x, scale)
        dropped = F.dropout(x, self.dropout, self.training)
        y = F.linear(dropped, W)
        of_base = y.dtype
        if self.training and self.dropout > 0:
            shift = self.base(x) - y  # W by itself sees no dropout
        low = in_type_of(dropped, self.lora_A) @ self.lora_A.T
        y = y.to(low.dtype).addmm_(low, self.scaling * self.lora_B.T.to(low.dtype))  # V x, (N, out)
        return scale_and_shift(y, scale, shift, self.magnitude).to(of_base)

    def _without_gradients(self, x: Tensor, scale: Tensor) -> Tensor:
        """The same where nothing is kept for a backward pass: exactly the base's at scale 1.

        y holds the bias, too, which is not scaled: what is too much of it is taken off again.
        """
        y, b = self.base(x), self.base.bias
        of_base = y.dtype
        low = in_type_of(x, self.lora_A) @ self.lora_A.T
        y = y.to(low.dtype).addmm_(low, self.scaling * self.lora_B.T.to(low.dtype)).mul_(scale)
        if b is not None:
            y.add_((b * (1 - scale)).where(b.isfinite(), 0.0))
        return y.to(of_base)

    def merged_weight(self) -> Tensor:
        """magnitude · V / ‖V‖, (out, in)."""
        return (self.magnitude / self.row_norms())[:, None] * super().merged_weight()

    def peft_config(self) -> dict[str, Any]:
        """What adapter_config.json says of this adapter."""
        return super().peft_config() | {"use_dora": True}

    def peft_tensors(self) -> dict[str, Tensor]:
        """A, B and the magnitudes, by the names that peft gives them."""
        return super().peft_tensors() | {"lora_magnitude_vector": self.magnitude}

    @classmethod
    def from_peft(cls, base: nn.Linear, config: dict[str, Any]) -> Self | None:
        """DoRA with the options of a config; None if the config does not say DoRA."""
        if not config["use_dora"] or config["gptbook"]:
            return None
        options = config["r"], config["lora_alpha"], config["lora_dropout"]
        return cls(base, *options, rank_stabilized=config["use_rslora"])
