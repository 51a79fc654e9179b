"""Attention and its parts as they should be, or with a mistake: what chapter 3's checks compare."""

import math
import weakref

import torch


def softmax(scores, shift=max, divide=True):
    """The weights of a list of scores; `shift(scores)` is subtracted first."""
    top = shift(scores)
    exponentials = [math.exp(score - top) for score in scores]
    return [e / sum(exponentials) if divide else e for e in exponentials]


def attend(q, k, v, causal=True, scale=None, zeroed=False):
    """Attention for tensors (..., T, D); with `zeroed`, weights are masked, and not scores."""
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if zeroed:
        return scores.softmax(dim=-1).tril() @ v
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, -torch.inf)
    return scores.softmax(dim=-1) @ v


def rotation(n, omega, sign=1.0):
    """The matrix that turns a row vector (cos ωt, sin ωt) back by n positions."""
    c, s = math.cos(n * omega), sign * math.sin(n * omega)
    return torch.tensor([[c, -s], [s, c]])


def grouped(q, k, v, order="interleave", join=True, **options):
    """Grouped attention as it should be, or with a mistake."""
    (H, T, d), G = q.shape, len(k)
    group = {
        "interleave": [h // (H // G) for h in range(H)],
        "tile": [h % G for h in range(H)],
        "first": [0] * H,
    }[order]
    y = attend(q, k[group], v[group], **options)
    return y.transpose(0, 1).reshape(T, H * d) if join else y


def stream(query, pairs, scaled=True, subtract=True, rescale=(True, True), exp=None):
    """Attention one key at a time, as it should be, or with a mistake."""
    top, below, above = -math.inf, 0.0, torch.zeros_like(query)
    for key, value in pairs:
        score = (query @ key).item() / (math.sqrt(len(query)) if scaled else 1.0)
        new = max(top, score) if subtract else 0.0
        shrink = [math.exp(top - new) if each and subtract else 1.0 for each in rescale]
        weight = exp(score - new) if exp else torch.tensor(score - new).exp()
        below, above, top = below * shrink[0] + weight, above * shrink[1] + weight * value, new
    return above / below


class Once:
    """Pairs of tensors to go through once; notices if earlier ones are kept."""

    def __init__(self, pairs):
        self.pairs = pairs

    def __iter__(self):
        pairs, self.pairs, born = self.pairs, [], []
        for pair in pairs:
            if any(tensor() is not None for tensor in born[:-2]):
                raise ValueError("earlier pairs are still kept; keep only sums")
            key, value = (tensor.clone() for tensor in pair)
            born += [weakref.ref(key), weakref.ref(value)]
            yield key, value
            del key, value

    def __eq__(self, other):
        return True  # going through the pairs is no change of an argument

    def __repr__(self):
        return "pairs"
