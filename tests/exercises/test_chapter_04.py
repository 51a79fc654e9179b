"""Wrong answers to the exercises of chapter 4, each rejected with a hint."""

import operator

import torch

from tests.exercises.helpers import assert_rejected, wrong_answers


def count(config, tied, qkv_bias=None, norms=2, final=2):
    """The parameters of a GPT, and what they would be with other numbers of some parts."""
    V, C, D, L = config.vocab_size, config.context_length, config.embed_dim, config.num_layers
    qkv_bias = (3 if config.qkv_bias else 0) if qkv_bias is None else qkv_bias
    block = 12 * D * D + (6 + qkv_bias + 2 * norms) * D
    return (V if tied else 2 * V) * D + C * D + L * block + final * D


def wrong_top_p_ties(p, share):
    kept = wrong_top_p(p, share, normalise=False)
    least = kept.where(kept > 0, 2.0).amin(-1, keepdim=True)
    kept = p.where(p >= least, 0.0)  # and all that are as probable as the last one
    return kept / kept.sum(-1, keepdim=True)


def wrong_top_p(
    p, share, crossing=True, back=True, normalise=True, descending=True, enough=operator.ge
):
    ordered, order = p.sort(dim=-1, descending=descending)
    before = ordered.cumsum(-1) - ordered
    ordered = ordered.masked_fill(
        enough(before, share) if crossing else before + ordered > share, 0.0
    )
    kept = ordered.gather(-1, order.argsort(-1)) if back else ordered
    return kept / kept.sum(-1, keepdim=True) if normalise else kept


def wrong_penalty(logits, ids, change, repeated=False):
    logits = logits.clone()
    for row in range(len(logits)):
        for id in ids[row].tolist() if repeated else ids[row].unique().tolist():
            logits[row, id] = change(logits[row, id])
    return logits


def forgetful(model):
    """The same model, given the last token only."""
    return lambda ids: model(ids[:, -1:])


def any_order(new, stop):
    return set(new) == set(stop)


def wrong_stop_counts(model, ids, stop, most):
    """Counts how much of the sequence is there; after a slip it begins at 0, not at 1."""
    new, found = [], 0
    while len(new) < most and found < len(stop):
        new.append(model(torch.tensor([ids + new]))[0, -1].argmax().item())
        found = found + 1 if new[-1] == stop[found] else 0
    return ids + new


def wrong_stop(model, ids, stop, most, prompt=False, cut=False, same=operator.eq):
    new = []
    while len(new) < most:
        if prompt and ids[-len(stop) :] == stop:
            return ids
        new.append(model(torch.tensor([ids + new]))[0, -1].argmax().item())
        text = ids + new if prompt else new
        if stop and same(text[-len(stop) :], stop):
            return ids + (new[: -len(stop)] if cut else new)
    return ids + new


def wrong_stop_any_token(model, ids, stop, most):
    new = []
    while len(new) < most and not set(new) & set(stop):
        new.append(model(torch.tensor([ids + new]))[0, -1].argmax().item())
    return ids + new


def wrong_stop_in_place(model, ids, stop, most):
    ids += wrong_stop(model, ids, stop, most)[len(ids) :]
    return ids


def wrong_beams(
    model, ids, width, steps, sums=True, logs=True, per_beam=False, reverse=True, cut=True
):
    beams = [(0.0, ids)]
    for _ in range(steps):
        longer = []
        for total, row in beams:
            logits = model(torch.tensor([row]))[0, -1]
            scores = logits.log_softmax(-1) if logs else logits
            found = [((total + s) if sums else s, [*row, i]) for i, s in enumerate(scores.tolist())]
            if not cut:  # the best of each candidate, and all of them kept
                found = sorted(found, reverse=True)[:width]
            longer += sorted(found, reverse=True)[:1] if per_beam and len(beams) > 1 else found
        longer.sort(key=lambda beam: beam[0], reverse=reverse)
        beams = longer[:width] if cut else longer
    return beams[0][1]


WRONG = {
    "4.1": [
        lambda x, w, eps: torch.nn.functional.layer_norm(x, x.shape[-1:], w, eps=eps),
        lambda x, w, eps: x / ((x**2).mean(-1, keepdim=True) ** 0.5 + eps) * w,  # eps beside it
        lambda x, w, eps: x / (x**2 + eps).mean() ** 0.5 * w,  # over all tokens
        lambda x, w, eps: x / ((x**2).sum(-1, keepdim=True) + eps) ** 0.5 * w,
        lambda x, w, eps: x / ((x**2).mean(-1, keepdim=True) + eps) * w,  # no root
        lambda x, w, eps: x / ((x**2).mean(-1, keepdim=True) + eps) ** 0.5,  # no weight
        lambda x, w, eps: x / ((x**2).mean(-1, keepdim=True) + 1e-5) ** 0.5 * w,
        lambda x, w, eps: x / ((x**2).mean(0, keepdim=True) + eps) ** 0.5 * w,
    ],
    "4.2": [
        lambda c, tied: count(c, tied, qkv_bias=3),  # always
        lambda c, tied: count(c, tied, qkv_bias=0),
        lambda c, tied: count(c, tied, norms=1),
        lambda c, tied: count(c, tied, final=0),
        lambda c, tied: count(c, True),
        lambda c, tied: count(c, not tied),
        lambda c, tied: count(c, tied) + (0 if tied else c.vocab_size),  # a bias of the head
        lambda c, tied: count(c, tied) - c.context_length * c.embed_dim,
        lambda c, tied: float(count(c, tied)),
    ],
    "4.3": [
        lambda c, free, size: free // (c.num_layers * c.context_length * c.embed_dim * size),
        lambda c, free, size: free / (2 * c.num_layers * c.context_length * c.embed_dim * size),
        lambda c, free, size: free // (2 * c.num_layers * c.context_length * c.embed_dim * 4),
        lambda c, free, size: free // (2 * c.context_length * c.embed_dim * size),
        lambda c, free, size: free // (2 * c.num_layers * c.embed_dim * size),  # tokens, not texts
        lambda c, free, size: (
            free // (2 * c.num_layers * c.num_heads * c.context_length * c.embed_dim * size)
        ),
        lambda c, free, size: round(
            free / (2 * c.num_layers * c.context_length * c.embed_dim * size)
        ),
    ],
    "4.4": [
        lambda p, share: wrong_top_p(p, share, crossing=False),
        lambda p, share: wrong_top_p(p, share, back=False),
        lambda p, share: wrong_top_p(p, share, normalise=False),
        lambda p, share: p.where(p >= share, 0.0),
        lambda p, share: wrong_top_p(p, share)[:1].expand_as(p),  # the first row's for all
        lambda p, share: p.where(wrong_top_p(p[:1], share) > 0, 0.0),  # the first row's places
        lambda p, share: wrong_top_p(p, 1 - share),
        lambda p, share: wrong_top_p(p.flatten()[None], share).view(p.shape),
        lambda p, share: wrong_top_p(p, share, descending=False),
        lambda p, share: wrong_top_p(p, share, enough=operator.gt),  # one more at exactly p
        wrong_top_p_ties,
    ],
    "4.5": [
        lambda logits, ids, penalty: wrong_penalty(logits, ids, lambda x: x / penalty),
        lambda logits, ids, penalty: wrong_penalty(logits, ids, lambda x: x - penalty),
        lambda logits, ids, penalty: wrong_penalty(logits, ids, lambda x: x * penalty),
        lambda logits, ids, penalty: wrong_penalty(
            logits, ids, lambda x: torch.where(x > 0, x / penalty, x * penalty), repeated=True
        ),
        lambda logits, ids, penalty: wrong_penalty(
            logits, ids.flatten()[None].expand(len(ids), -1), lambda x: x / penalty
        ),
        lambda logits, ids, penalty: torch.where(logits > 0, logits / penalty, logits * penalty),
        lambda logits, ids, penalty: wrong_penalty(
            logits,
            ids.flatten()[None].expand(len(ids), -1),  # the tokens of all rows
            lambda x: torch.where(x > 0, x / penalty, x * penalty),
        ),
        lambda logits, ids, penalty: wrong_penalty(
            logits, ids[:, -1:], lambda x: torch.where(x > 0, x / penalty, x * penalty)
        ),
    ],
    "4.6": [
        lambda model, ids, stop, most: wrong_stop(model, ids, stop, most, prompt=True),
        lambda model, ids, stop, most: wrong_stop(model, ids, stop, most, cut=True),
        lambda model, ids, stop, most: wrong_stop(model, ids, stop[-1:], most),
        lambda model, ids, stop, most: wrong_stop(model, ids, [], most),
        lambda model, ids, stop, most: wrong_stop(model, ids, stop, most)[len(ids) :],
        lambda model, ids, stop, most: wrong_stop(model, ids, stop, most + 1),
        lambda model, ids, stop, most: wrong_stop(forgetful(model), ids, stop, most),
        lambda model, ids, stop, most: wrong_stop(model, ids, stop, most, same=any_order),
        wrong_stop_counts,
        wrong_stop_any_token,
        wrong_stop_in_place,
    ],
    "4.7": [
        lambda model, ids, width, steps: wrong_beams(model, ids, 1, steps),  # greedy
        lambda model, ids, width, steps: wrong_beams(model, ids, width, steps, sums=False),
        lambda model, ids, width, steps: wrong_beams(model, ids, width, steps, logs=False),
        lambda model, ids, width, steps: wrong_beams(model, ids, width, steps, per_beam=True),
        lambda model, ids, width, steps: wrong_beams(model, ids, width, steps, reverse=False),
        lambda model, ids, width, steps: wrong_beams(model, ids, width, steps)[len(ids) :],
        lambda model, ids, width, steps: wrong_beams(model, ids, width, steps + 1),
        lambda model, ids, width, steps: wrong_beams(forgetful(model), ids, width, steps),
        lambda model, ids, width, steps: wrong_beams(model, ids, width, steps, cut=False),
    ],
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)
