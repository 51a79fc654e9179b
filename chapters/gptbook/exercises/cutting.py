"""Top-p, min-p and penalties, right or with a mistake: for chapter 5's checks."""

import torch


def nucleus(p, share, crossing=True, back=True, divided=True, descending=True, gathered=False):
    """Top-p, row by row; the options are mistakes."""
    ordered, order = p.sort(dim=-1, descending=descending, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    dropped = before >= share if crossing else before + ordered > share
    kept = ordered.masked_fill(dropped, 0.0)
    if gathered:
        kept = kept.gather(-1, order)
    elif back:
        kept = torch.zeros_like(p).scatter(-1, order, kept)
    return kept / kept.sum(dim=-1, keepdim=True) if divided else kept


NUCLEUS = [
    (
        lambda p, share: nucleus(p, share, gathered=True),
        "`gather` reads along `order`; to write each number back to where it came from takes "
        "`scatter`.",
    ),
    (lambda p, share: nucleus(p, share, divided=False), "Divide: each row must add up to 1 again."),
    (
        lambda p, share: nucleus(p, share, crossing=False),
        "The token with which the sum reaches p is kept, too.",
    ),
    (
        lambda p, share: nucleus(p, share, back=False),
        "The right numbers, but in sorted order: each must go back to the token it belongs to.",
    ),
    (
        lambda p, share: nucleus(p, share, descending=False),
        "You begin with the least probable tokens.",
    ),
    (
        lambda p, share: nucleus(p, 1 - share),
        "You keep as much as should be dropped: p is what the kept ones have together.",
    ),
    (
        lambda p, share: (
            p.where(nucleus(p[:1], share) > 0, 0.0)
            / p.where(nucleus(p[:1], share) > 0, 0.0).sum(dim=-1, keepdim=True)
        ),
        "You keep the first row's tokens in all rows; each row is filtered by itself.",
    ),
    (
        lambda p, share: nucleus(p.flatten()[None], share).view(p.shape),
        "You filter all rows as one; each row is filtered by itself.",
    ),
]


def changed(change, repeated=False, rows=lambda ids, row: ids[row]):
    """A penalty that calls `change` on the logit of each token of a row."""

    def penalise(logits, ids, penalty):
        logits = logits.clone()
        for row in range(len(logits)):
            seen = rows(ids, row).flatten().tolist()
            for id in seen if repeated else set(seen):
                logits[row, id] = change(logits[row, id], penalty)
        return logits

    return penalise


def pushed_down(x, penalty):
    return x / penalty if x > 0 else x * penalty


PENALTIES = [
    (
        changed(lambda x, p: x * p if x > 0 else x / p),
        "Divide and multiply are swapped: this makes the tokens of the text more probable.",
    ),
    (
        changed(lambda x, p: x / p),
        "A negative logit divided by 2 comes nearer to 0: that token becomes more probable.",
    ),
    (
        changed(lambda x, p: x * p),
        "A positive logit that is multiplied grows: that token becomes more probable.",
    ),
    (changed(lambda x, p: x - p), "The penalty is not subtracted: divide or multiply by it."),
    (
        changed(pushed_down, repeated=True),
        "A token that occurs several times is penalised only once.",
    ),
    (
        lambda logits, ids, p: torch.where(logits > 0, logits / p, logits * p),
        "You penalise all tokens; only those that occur in ids are meant.",
    ),
    (
        changed(pushed_down, rows=lambda ids, row: ids),
        "Each row of logits has its own row of ids; you take the tokens of all rows.",
    ),
    (
        changed(pushed_down, rows=lambda ids, row: ids[row, -1]),
        "That is the last token only; all tokens of the row count.",
    ),
]


def above(p, threshold, divided=True):
    kept = p.where(p >= threshold, 0.0)
    return kept / kept.sum(dim=-1, keepdim=True) if divided else kept


MIN_P = [
    (
        lambda p, m: (
            (p.where(p > m * p.amax(-1, True), 0.0))
            / p.where(p > m * p.amax(-1, True), 0.0).sum(-1, True)
        ),
        "A token with exactly min_p times the largest probability is kept.",
    ),
    (
        lambda p, m: above(p, m),
        "You keep what is at least min_p; the threshold is min_p times the row's largest number.",
    ),
    (
        lambda p, m: above(p, m * p.amax(dim=-1, keepdim=True), divided=False),
        "Divide: each row must add up to 1 again.",
    ),
    (
        lambda p, m: above(p, m * p.max()),
        "Each row has its own threshold; you take the largest number of all rows.",
    ),
    (
        lambda p, m: above(p, m * p.amax(dim=0)),
        "The largest number of each row is `amax(dim=-1)`; dim 0 goes over the rows.",
    ),
    (
        lambda p, m: nucleus(p, m),
        "That is top-p. Here, each token is compared with the most probable one.",
    ),
    (
        lambda p, m: p.where(p >= m * p.amax(-1, True), 0.0).softmax(dim=-1),
        "Softmax gives the dropped tokens a probability again; divide by the sum.",
    ),
]


def left(p, top_p, temperature=1.0, top_k=None):
    """How many tokens are left of probabilities p."""
    p = torch.tensor(p) ** (1 / temperature)
    p = p if top_k is None else p.where(p >= p.topk(top_k).values[-1], 0.0)
    return int((nucleus(p[None] / p.sum(), top_p) > 0).sum())
