"""DoRA: magnitude and direction of a weight are trained apart (arXiv 2402.09353); chapter 8."""

import torch
import torch.nn.functional as F
from torch import nn

from gptbook.lora import LoRALinear


class ScaleAndShift(torch.autograd.Function):
    """z = y · scale + bias, computed in place of y (rows, out); scale and bias are (out,).

    Keeps z for the backward pass, as the layer that follows often does, and not y. Where the
    gradient of the scale needs y, it takes (z - bias) / scale; see `is_invertible`.
    """

    @staticmethod
    def forward(ctx, y, scale, bias):
        z = y.mul_(scale).add_(bias)
        ctx.mark_dirty(z)
        ctx.save_for_backward(z, scale, bias)
        return z

    @staticmethod
    def backward(ctx, gradient):
        z, scale, bias = ctx.saved_tensors
        of_scale = (z - bias).mul_(gradient).sum(dim=0) / scale
        of_bias = gradient.sum(dim=0) if ctx.needs_input_grad[2] else None  # as a rule, frozen
        return gradient * scale, of_scale, of_bias


def is_invertible(y, magnitude, bias):
    """True if z leaves enough of y (rows, out): no bf16, no magnitude small beside its bias.

    `magnitude` and `bias` are (out,). Never in `torch.compile`, which loses gradients of what is
    written in place.
    """
    if torch.compiler.is_compiling() or torch.finfo(y.dtype).eps > 1e-6:
        return False
    return bool((magnitude.abs() > 1e-3 * bias.abs() + 1e-6).all())


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
        return squares.clamp(min=1e-12).sqrt().to(W.dtype)

    def forward(self, x):
        """x (…, in) -> (…, out)."""
        if self.merged:
            return self.base(x)
        W, bias = self.base.weight, self.base.bias
        bias = W.new_zeros(len(W)) if bias is None else bias
        scale = self.magnitude / self.row_norms()  # (out,): 1 in the beginning
        rows = x.reshape(-1, self.base.in_features)
        dropped = F.dropout(rows, self.dropout, self.training)
        y = F.linear(dropped, W)
        drops = self.training and self.dropout > 0
        shift = self.base(rows) - y if drops else bias  # W by itself sees no dropout
        low, B = dropped @ self.lora_A.T, (self.scaling * self.lora_B).T
        y.addmm_(low, B.to(y.dtype))
        if scale.requires_grad and not drops and is_invertible(y, self.magnitude, bias):
            y = ScaleAndShift.apply(y, scale, bias)
        else:
            y = torch.addcmul(shift, y, scale)
        return y.view(*x.shape[:-1], self.base.out_features)

    def merged_weight(self):
        """magnitude · V / ‖V‖, (out, in)."""
        return (self.magnitude / self.row_norms())[:, None] * super().merged_weight()
