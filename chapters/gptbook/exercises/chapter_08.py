"""Checks of chapter 8's exercises."""

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from gptbook.exercises import NotYet, alike, close, drawn, exercise

SHAPES = [(5, 3, 2), (4, 4, 1), (3, 6, 2)]  # out, in, r: wide, square, tall


def trained(out, inside, r):
    """W, A, B, m of a DoRA layer that has been trained; m is not the length of anything."""
    W, A, B, m = drawn((out, inside), (r, inside), (out, r), (out,), seed=out)
    return W, A, B, m.abs() + 0.5


@exercise("8.1")
def take_apart(answer):
    hint = "m is W.norm(dim=1), one length for each row; D is W divided by it, row by row."
    for shape in SHAPES:
        W = trained(*shape)[0]
        m = W.norm(dim=1)
        answer.expect((m, W / m[:, None]), W, same=alike, hint=hint)


@exercise("8.2")
def dora_weight(answer):
    hint = "V = W + s B A; each row divided by its own length and multiplied by its magnitude."
    for shape in SHAPES:
        W, A, B, m = trained(*shape)
        for s in (0.5, 2.0):
            V = W + s * B @ A
            wanted = (m / V.norm(dim=1))[:, None] * V
            answer.expect(wanted, W, A, B, m, s, same=alike, hint=hint)


@exercise("8.3")
def dora_forward(answer):
    hint = "W x + b − W d, plus c · (W d + s B A d), where d is `dropped` and c = m / ‖V‖."
    for out, inside, r in SHAPES:
        W, A, B, m = trained(out, inside, r)
        x, b, noise = drawn((7, inside), (out,), (7, inside), seed=1)
        c, s = m / (W + 1.5 * B @ A).norm(dim=1), 1.5
        for dropped in (x, 2 * (noise > 0) * x):
            wanted = x @ W.T + b + (c - 1) * (dropped @ W.T) + c * s * (dropped @ A.T @ B.T)
            answer.expect(wanted, x, dropped, W, b, A, B, m, s, same=alike, hint=hint)


class Watch(TorchDispatchMode):
    """Counts the tensors of at least `size` numbers that are computed while it is on."""

    def __init__(self, size):
        super().__init__()
        self.size, self.count = size, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        given = {a.untyped_storage().data_ptr() for a in args if torch.is_tensor(a)}
        if torch.is_tensor(made) and made.untyped_storage().data_ptr() not in given:
            self.count += made.numel() >= self.size
        return made


@exercise("8.4")
def row_norms(answer):
    hint = "w2 + 2 s · (W Aᵀ · B) + s² · (B A Aᵀ · B), each summed over r; and the root of that."
    for shape in SHAPES:
        W, A, B, _ = trained(*shape)
        w2 = (W**2).sum(dim=1)
        for s in (0.5, 2.0):
            wanted = (W + s * B @ A).norm(dim=1)
            answer.expect(wanted, W, w2, A, B, s, same=alike, hint=hint)
    W, A, B = drawn((64, 96), (2, 96), (64, 2))
    with Watch(W.numel()) as watch:
        answer.function(W, (W**2).sum(dim=1), A, B, 0.5)
    if watch.count > 1:  # one is w2, which was made here
        raise NotYet("A table of the size of W was made. B @ A, for example, is one.")


@exercise("8.5")
def magnitude_gradient(answer):
    hint = "Output i is mᵢ · (vᵢ / ‖vᵢ‖) · x + bᵢ. So the gradient of mᵢ is gᵢ · (vᵢ / ‖vᵢ‖) · x."
    for out, inside, r in SHAPES:
        W, A, B, _ = trained(out, inside, r)
        x, g = drawn((inside,), (out,), seed=3)
        V = W + 1.5 * B @ A
        answer.expect(g * (V @ x) / V.norm(dim=1), x, g, W, A, B, 1.5, same=alike, hint=hint)


@exercise("8.6")
def full_gradient(answer):
    hint = "For each row m / ‖v‖ · (g − v (v · g) / ‖v‖²)."
    for out, inside, _ in SHAPES:
        V, g, m = drawn((out, inside), (out, inside), (out,), seed=4)
        V.requires_grad_()
        weight = (m / V.norm(dim=1))[:, None] * V
        [wanted] = torch.autograd.grad((weight * g).sum(), V)
        answer.expect(wanted, V.detach(), m, g, same=alike, hint=hint)


@exercise("8.7")
def moved(answer):
    def same(got, wanted):
        return len(got) == 2 and all(
            close(float(g), w, 1e-5) for g, w in zip(got, wanted, strict=True)
        )

    hint = "ΔM: the mean over rows of | ‖after‖ − ‖before‖ |. ΔD: the mean of 1 − cosine."
    for out, inside, _ in SHAPES:
        before, step = drawn((out, inside), (out, inside), seed=5)
        for after in (before + 0.3 * step, 2 * before, -before):
            length = (after.norm(dim=1) - before.norm(dim=1)).abs().mean()
            turn = (1 - F.cosine_similarity(before, after, dim=1)).mean()
            answer.expect((length.item(), turn.item()), before, after, same=same, hint=hint)
