"""y · scale + shift without a second matrix of the size of y: what DoRA needs to train in little
memory; chapter 10."""

from typing import Any

import torch
from torch import Tensor


def scale_and_shift(y: Tensor, scale: Tensor, shift: Tensor, magnitude: Tensor) -> Tensor:
    """y · scale + shift, for y (N, out) and scale (out,), where `shift` is (out,) or (N, out).

    In float32 or finer, with one shift for all rows, y is written over. What is kept for the
    backward pass is then the result, which the layer that follows often keeps anyway, and y itself
    only for a few outputs, one and one more for every 64: those of the smallest `magnitude` (out,),
    the size of y · scale, beside their shift. Rounding has erased them from the result.

    If more outputs than that are erased (magnitudes of zero, or under a thousandth of their shift),
    y is kept whole on a CPU. Elsewhere it would take a wait in every step to find out: there the
    gradients of these further magnitudes are inexact, or 0.
    """
    exact = torch.finfo(y.dtype).eps < 1e-6
    # torch.compile loses gradients of what is written in place.
    if shift.dim() > 1 or not exact or not scale.requires_grad or torch.compiler.is_compiling():
        return torch.addcmul(shift, y, scale)
    left = magnitude.detach().abs() / (shift.detach().abs() + 1e-3)
    few = left.topk(1 + len(left) // 64, largest=False).indices
    if y.is_cpu and (left <= 1e-3).sum() > len(few):
        return torch.addcmul(shift, y, scale)
    return ScaleAndShift.apply(y, scale, shift, y[:, few], few)


class ScaleAndShift(torch.autograd.Function):
    """z = y · scale + shift, computed in place of y (N, out); scale and shift are (out,).

    Keeps z for the backward pass. The gradient of the scale needs y, which is (z - shift) / scale;
    in the columns `few` that is lost by rounding, and y_few (N, len(few)) is a copy of them.
    """

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, scale: Tensor, shift: Tensor, y_few: Tensor, few: Tensor
    ) -> Tensor:
        z = y.mul_(scale).add_(shift)
        ctx.mark_dirty(z)
        ctx.save_for_backward(z, scale, shift, y_few, few)
        return z

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        z, scale, shift, y_few, few = ctx.saved_tensors
        divisor = scale.where(scale != 0, 1.0)
        of_scale = (z - shift).mul_(gradient).sum(dim=0) / divisor
        of_few = (y_few * gradient[:, few]).sum(dim=0)
        of_scale = of_scale.where(shift.isfinite(), 0.0).index_copy(0, few, of_few)
        of_shift = gradient.sum(dim=0) if ctx.needs_input_grad[2] else None  # as a rule, frozen
        return gradient * scale, of_scale, of_shift, None, None
