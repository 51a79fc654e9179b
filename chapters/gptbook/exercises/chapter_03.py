"""Checks of chapter 3's exercises."""

import torch
import torch.nn.functional as F

from gptbook.exercises import alike, drawn, exercise


def random(*shape, seed=0):
    """Random numbers, scaled up so that a missing scale or mask shows."""
    return 2 * drawn(shape, seed=seed)[0]


@exercise("3.1")
def causal_mask(answer):
    wanted = torch.tensor([[True, False, False], [True, True, False], [True, True, True]])
    hint = "Row t is True for the columns 0 to t, as booleans."
    answer.expect(wanted, 3, same=alike, hint=hint)
    answer.expect(torch.ones(1, 1, dtype=torch.bool), 1, same=alike, hint="A token sees itself.")
    answer.expect(torch.tril(torch.ones(7, 7)) > 0, 7, same=alike, hint=hint)


@exercise("3.2")
def attention_weights(answer):
    hint = "Divide the scores by the square root of D, mask them, then softmax over the keys."
    pairs = [
        (random(T, D, seed=T), random(T, D, seed=99)) for T, D in [(1, 4), (2, 2), (5, 8), (7, 3)]
    ]
    far = 10 * random(6, 4)
    pairs.append((far, -far))  # scores far below zero: only minus infinity shuts out the future
    for q, k in pairs:
        # With the identity as values, what attention returns is its weights.
        answer.expect(
            F.scaled_dot_product_attention(
                q[None], k[None], torch.eye(len(q))[None], is_causal=True
            )[0],
            q,
            k,
            same=alike,
            hint=hint,
        )


@exercise("3.3")
def window_mask(answer):
    for T, window in [(4, 1), (5, 2), (6, 3), (4, 9)]:
        wanted = [[t - window < s <= t for s in range(T)] for t in range(T)]
        hint = "The window holds the token itself and the window - 1 tokens before it."
        answer.expect(torch.tensor(wanted), T, window, same=alike, hint=hint)


@exercise("3.4")
def split_heads(answer):
    for B, T, H, head_dim in [(1, 1, 2, 2), (1, 3, 2, 4), (2, 5, 3, 2), (3, 4, 4, 1)]:
        x = random(B, T, H * head_dim)
        pieces = [x[:, :, h * head_dim : (h + 1) * head_dim] for h in range(H)]
        hint = (
            "Head h has the numbers h·D/H to (h+1)·D/H of every token; the axes are (B, H, T, D/H)."
        )
        answer.expect(torch.stack(pieces, dim=1), x, H, same=alike, hint=hint)


@exercise("3.5")
def join_heads(answer):
    for B, T, H, head_dim in [(1, 1, 2, 2), (1, 3, 2, 4), (2, 5, 3, 2), (3, 4, 4, 1)]:
        x = random(B, H, T, head_dim)
        wanted = torch.cat([x[:, h] for h in range(H)], dim=-1)
        hint = "The numbers of the first head come first, then those of the second, for each token."
        answer.expect(wanted, x, same=alike, hint=hint)


@exercise("3.6")
def attend_once(answer):
    hint = "Scores over the keys, divided by the square root of D, softmax, weighted sum of values."
    for S, D in [(1, 4), (3, 2), (6, 8), (5, 3)]:
        q, keys, values = random(D, seed=S), random(S, D, seed=1), random(S, D, seed=2)
        wanted = F.scaled_dot_product_attention(q[None, None], keys[None], values[None])[0, 0]
        answer.expect(wanted, q, keys, values, same=alike, hint=hint)
