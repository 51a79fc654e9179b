"""Large tensors are seen, views of them are not."""

import torch

from gptbook.exercises.watch import Watch


def test_large_tensors_are_named_in_order():
    W, A, B = torch.ones(6, 8), torch.ones(2, 8), torch.ones(6, 2)
    with Watch(W.numel()) as watch:
        W.T @ B
        W.T.T[:]
        (W**2).sum()
        B @ A
        torch.addmm(W, B, A)
    assert watch.names == ["pow", "mm", "addmm"]
    (W**2).sum()
    assert len(watch.names) == 3
