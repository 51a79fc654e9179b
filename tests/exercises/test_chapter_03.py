"""Wrong answers to the exercises of chapter 3, each rejected with a hint."""

import torch

from tests.exercises.helpers import assert_rejected, wrong_answers


def wrong_weights(q, k, scale=None, dim=-1, masked=-torch.inf):
    scores = q @ k.T * (len(q[0]) ** -0.5 if scale is None else scale)
    return scores.masked_fill(~torch.ones_like(scores).bool().tril(), masked).softmax(dim)


WRONG = {
    "3.1": [
        lambda T: torch.ones(T, T, dtype=torch.bool).triu(),
        lambda T: torch.ones(T, T, dtype=torch.bool).tril(-1),  # without the token itself
        lambda T: torch.ones(T, T).tril(),  # numbers, not booleans
        lambda T: ~torch.ones(T, T, dtype=torch.bool).tril(),
    ],
    "3.2": [
        lambda q, k: (q @ k.T / len(q[0]) ** 0.5).softmax(-1),  # no mask
        lambda q, k: wrong_weights(q, k, scale=1.0),
        lambda q, k: wrong_weights(q, k, scale=1 / len(q[0])),
        lambda q, k: wrong_weights(k, q),
        lambda q, k: wrong_weights(q, k, dim=0),
        lambda q, k: (q @ k.T / len(q[0]) ** 0.5).softmax(-1).tril(),  # masked after the softmax
        lambda q, k: (q @ k.T / len(q[0]) ** 0.5).tril().softmax(-1),  # zeros are no mask
        lambda q, k: wrong_weights(q, k, masked=-100.0),  # not low enough for large scores
    ],
    "3.3": [
        lambda T, w: torch.ones(T, T, dtype=torch.bool).tril(),
        lambda T, w: torch.ones(T, T, dtype=torch.bool).tril().triu(-w),  # one too many
        lambda T, w: torch.ones(T, T, dtype=torch.bool).tril(w - 1).triu(1 - w),  # sees the future
        lambda T, w: torch.ones(T, T, dtype=torch.bool).triu().tril(w - 1),
    ],
    "3.4": [
        lambda x, H: x.view(x.shape[0], H, x.shape[1], -1),  # mixes up tokens
        lambda x, H: x.view(*x.shape[:2], H, -1),  # not swapped
        lambda x, H: x.view(*x.shape[:2], -1, H).permute(0, 3, 1, 2),  # every H-th number
        lambda x, H: x.view(*x.shape[:2], H, -1).transpose(1, 2).flip(1),
    ],
    "3.5": [
        lambda x: x.reshape(x.shape[0], x.shape[2], -1),
        lambda x: x.permute(0, 2, 3, 1).reshape(x.shape[0], x.shape[2], -1),
        lambda x: x.transpose(1, 2),
        lambda x: x.transpose(1, 2).flatten(1),
    ],
    "3.6": [
        lambda q, k, v: (k @ q).softmax(0) @ v,
        lambda q, k, v: (k @ q / len(q)).softmax(0) @ v,
        lambda q, k, v: (k @ q / len(q) ** 0.5) @ v,
        lambda q, k, v: (k @ q / len(k) ** 0.5).softmax(0) @ v,
        lambda q, k, v: (k[:-1] @ q / len(q) ** 0.5).softmax(0) @ v[:-1],  # without itself
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)
