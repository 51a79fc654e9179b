"""DoRA: magnitude and direction of a weight are trained apart (arXiv 2402.09353); chapter 8."""

import torch
import torch.nn.functional as F
from torch import nn

from gptbook.lora import LoRALinear


class DoRALinear(LoRALinear):
    """LoRA changes the direction of each row of the weight, `magnitude` (out,) is its length.

    V = W + scaling · B A; the weight is magnitude · V / ‖V‖, row by row. The norm ‖V‖ counts as a
    constant in the gradient (section 4.3 of the paper).
    """

    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__(base, rank, alpha, dropout)
        self.magnitude = nn.Parameter(base.weight.norm(dim=1))
        self.register_buffer("base_norm2", (base.weight**2).sum(dim=1))

    @torch.no_grad()
    def row_norms(self):
        """‖V‖ of each row (out,), without making V.

        ‖W + sBA‖² = ‖W‖² + 2s · W A^T · B + s² · B (A A^T) · B, row by row; ‖W‖² never changes.
        """
        A, B, s = self.lora_A, self.lora_B, self.scaling
        with torch.autocast(A.device.type, enabled=False):  # bfloat16 has but three digits
            mixed = (B * (self.base.weight @ A.T)).sum(dim=1)
            own = (B * (B @ (A @ A.T))).sum(dim=1)
        return (self.base_norm2 + 2 * s * mixed + s**2 * own).clamp(min=0).sqrt()

    def forward(self, x):
        """x (…, in) -> (…, out)."""
        if self.merged:
            return self.base(x)
        scale = self.magnitude / self.row_norms()  # (out,): 1 in the beginning
        dropped = F.dropout(x, self.dropout, self.training)
        low = (dropped @ self.lora_A.T) @ (self.scaling * self.lora_B).T
        if self.training and self.dropout > 0:  # what reaches W unchanged has seen no dropout
            return self.base(x) + (scale - 1) * F.linear(dropped, self.base.weight) + scale * low
        y = scale * (F.linear(x, self.base.weight) + low)
        return y if self.base.bias is None else y + self.base.bias

    def merged_weight(self):
        """magnitude · V / ‖V‖, (out, in)."""
        V = super().merged_weight()
        return (self.magnitude / V.norm(dim=1))[:, None] * V
