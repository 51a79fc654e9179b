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
        self.magnitude = nn.Parameter(self.row_norms())  # B is zero: the lengths of W

    @torch.no_grad()
    def row_norms(self):
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
        return squares.clamp(min=1e-24).sqrt().to(W.dtype)

    def forward(self, x):
        """x (…, in) -> (…, out)."""
        if self.merged:
            return self.base(x)
        W, bias = self.base.weight, self.base.bias
        scale = self.magnitude / self.row_norms()  # (out,): 1 in the beginning
        rows = x.reshape(-1, self.base.in_features)
        dropped = F.dropout(rows, self.dropout, self.training)
        y = F.linear(dropped, W)
        low, B = dropped @ self.lora_A.T, (self.scaling * self.lora_B).T
        if self.training and self.dropout > 0:  # what reaches W unchanged has seen no dropout
            y = self.base(rows) + (scale - 1) * y + scale * (low @ B)
        else:
            y.addmm_(low, B.to(y.dtype))
            y = scale * y if bias is None else torch.addcmul(bias, y, scale)
        return y.view(*x.shape[:-1], self.base.out_features)

    def merged_weight(self):
        """magnitude · V / ‖V‖, (out, in)."""
        return (self.magnitude / self.row_norms())[:, None] * super().merged_weight()
