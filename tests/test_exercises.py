"""Every check accepts the published solution and rejects plausible wrong answers, with a hint."""

import codecs
import io
import math
import operator
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
from conftest import token_table

import gptbook.bpe
import gptbook.exercises
from gptbook.exercises import check, exercise_numbers

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted(int(path.name[:2]) for path in (ROOT / "chapters").glob("[0-9][0-9]_*.ipynb"))
NUMBERS = [number for chapter in CHAPTERS for number in exercise_numbers(chapter)]


@pytest.fixture(scope="module")
def solutions():
    """The reader's solutions, by number: what the solution notebooks hand to `check`."""
    answers = {}
    original = gptbook.exercises.check
    try:
        for chapter in CHAPTERS:
            path = ROOT / "appendix" / f"solutions_{chapter:02d}.ipynb"
            gptbook.exercises.check = lambda number, answer: (
                answers.update({number: answer}) or original(number, answer)
            )
            namespace = {}
            for cell in nbformat.read(path, as_version=4).cells:
                if cell.cell_type == "code":
                    exec(compile(cell.source, str(path), "exec"), namespace)
    finally:
        gptbook.exercises.check = original
    return answers


def wrong_pairs_unweighted(words):
    return dict(Counter(pair for word in words for pair in pairwise(word)))


def wrong_pairs_sorted(words):
    pairs = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            pairs[tuple(sorted(pair))] += count
    return pairs


def wrong_pairs_once_a_word(words):
    pairs = Counter()
    for word, count in words.items():
        for pair in set(pairwise(word)):
            pairs[pair] += count
    return pairs


def wrong_pairs_across_words(words):
    text = b"".join(word * count for word, count in words.items())
    return Counter(pairwise(text))


def wrong_pairs_not_overlapping(words):
    pairs = Counter()
    for word, count in words.items():
        for i in range(0, len(word) - 1, 2):
            pairs[word[i], word[i + 1]] += count
    return pairs


def wrong_merge_overlapping(ids, pair, new_id):
    return [new_id if (a, b) == pair else a for a, b in pairwise([*ids, None])]


def wrong_merge_first_only(ids, pair, new_id):
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == pair:
            return [*ids[:i], new_id, *ids[i + 2 :]]
    return ids


def wrong_merge_from_the_right(ids, pair, new_id):
    merged = list(ids)
    for i in reversed(range(len(ids) - 1)):
        if i + 1 < len(merged) and (merged[i], merged[i + 1]) == pair:
            merged[i : i + 2] = [new_id]
    return merged


def wrong_merge_loses_the_last(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids) - 1:
        hit = (ids[i], ids[i + 1]) == pair
        merged.append(new_id if hit else ids[i])
        i += 2 if hit else 1
    return merged


def wrong_merge_in_place(ids, pair, new_id):
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == pair:
            ids[i : i + 2] = [new_id]
    return ids  # raises IndexError, because the list has become shorter


def wrong_merge_right_but_in_place(ids, pair, new_id):
    ids[:] = gptbook.bpe.merge_pair(ids, pair, new_id)
    return ids


def wrong_encode_longest_match(word, merges):
    tokens, ids = token_table(merges), []
    while word:
        best = max(
            (i for i, t in enumerate(tokens) if word.startswith(t)), key=lambda i: len(tokens[i])
        )
        ids.append(best)
        word = word[len(tokens[best]) :]
    return ids


def wrong_encode_left_to_right(word, merges):
    ids = list(word)
    i = 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) in merges:
            ids[i : i + 2] = [256 + merges.index((ids[i], ids[i + 1]))]
            i = 0
        else:
            i += 1
    return ids


def wrong_encode_latest_first(word, merges):
    ids = list(word)
    for i in reversed(range(len(merges))):
        ids = gptbook.bpe.merge_pair(ids, merges[i], 256 + i)
    return ids


def wrong_encode_once_each(word, merges):
    ids = list(word)
    for i, pair in enumerate(merges):
        ids = wrong_merge_first_only(ids, pair, 256 + i)
    return ids


def right_encode_by_joint_bytes(word, merges):
    """The chapter's own encoder, on a table of ranks."""
    return gptbook.bpe.merge_word(word, {token: i for i, token in enumerate(token_table(merges))})


def wrong_decode_each(tokens):
    return "".join(token.decode("utf-8", errors="replace") for token in tokens)


def _windows(ids, size, stride, last=0):
    starts = range(0, len(ids) - size + last, stride)
    return [(ids[i : i + size], ids[i + 1 : i + 1 + size]) for i in starts]


def _cut_windows(ids, cut, size, stride):
    return _windows(ids[:cut], size, stride), _windows(ids[cut:], size, stride)


def wrong_windows_before_the_cut(ids, size, stride, share):
    windows = _windows(ids, size, stride)
    cut = len(windows) - int(len(windows) * share)
    return windows[:cut], windows[cut:]


def wrong_windows_not_shifted(ids, size, stride, share):
    cut = len(ids) - int(len(ids) * share)
    return tuple([(x, x) for x, _ in part] for part in _cut_windows(ids, cut, size, stride))


def wrong_windows_short_last(ids, size, stride, share):
    cut = len(ids) - int(len(ids) * share)
    return _windows(ids[:cut], size, stride, last=1), _windows(ids[cut:], size, stride, last=1)


def wrong_windows_no_stride(ids, size, stride, share):
    cut = len(ids) - int(len(ids) * share)
    return _cut_windows(ids, cut, size, size)


def wrong_windows_one_missing(ids, size, stride, share):
    cut = len(ids) - int(len(ids) * share)
    return _windows(ids[:cut], size, stride, last=-1), _windows(ids[cut:], size, stride, last=-1)


def wrong_windows_validation_first(ids, size, stride, share):
    cut = int(len(ids) * share)
    return _windows(ids[cut:], size, stride), _windows(ids[:cut], size, stride)


def wrong_windows_negative_zero(ids, size, stride, share):
    n = int(len(ids) * share)
    return _windows(ids[:-n], size, stride), _windows(ids[-n:], size, stride)


def wrong_windows_rounded_share(ids, size, stride, share):
    cut = len(ids) - round(len(ids) * share)
    return _cut_windows(ids, cut, size, stride)


def wrong_windows_other_rounding(ids, size, stride, share):
    cut = int(len(ids) * (1 - share))
    return _cut_windows(ids, cut, size, stride)


def wrong_stream_each(tokens):
    return [token.decode("utf-8", errors="replace") for token in tokens]


def wrong_stream_all_at_the_end(tokens):
    return [""] * (len(tokens) - 1) + [b"".join(tokens).decode("utf-8", errors="replace")]


def wrong_stream_waits_for_ever(tokens):
    shown, left = [], b""
    for token in tokens:
        left += token
        try:
            shown.append(left.decode("utf-8"))
            left = b""
        except UnicodeDecodeError:
            shown.append("")
    return shown


def wrong_stream_trusts_the_first_byte(tokens):
    """Waits until a character has as many bytes as its first byte promises, whatever they are."""
    shown, left = [], b""
    for token in tokens:
        left += token
        text = ""
        while left:
            size = 1 + sum(left[0] >= first for first in (0xC0, 0xE0, 0xF0))
            if len(left) < size:
                break
            text += left[:size].decode("utf-8", errors="replace")
            left = left[size:]
        shown.append(text)
    return shown


def wrong_stream_flushes(tokens):
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return [decoder.decode(token, final=i == len(tokens) - 1) for i, token in enumerate(tokens)]


def wrong_stream_repeats(tokens):
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    texts = [decoder.decode(token) for token in tokens]
    return ["".join(texts[: i + 1]) for i in range(len(texts))]


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


def wrong_rename(name):
    """Right for names without the prefix `transformer.`, which it keeps."""
    pieces = {"wte": "token_embedding", "wpe": "position_embedding", "ln_f": "final_norm"}
    pieces |= {"ln_1": "norm1", "ln_2": "norm2", "attn.c_attn": "attention.qkv"}
    pieces |= {"attn.c_proj": "attention.out", "mlp.c_fc": "feed_forward.up"}
    pieces |= {"mlp.c_proj": "feed_forward.down"}
    for theirs, ours in pieces.items():
        name = name.replace(theirs, ours)
    return re.sub(r"^h\.", "blocks.", name)


def unprefixed(name):
    return wrong_rename(name.removeprefix("transformer."))


def labels_by(ids, spans, counted, before=0, after=0):
    """Labels of spans of the kinds `counted`, grown or shrunk at their ends by mistake."""
    labels = [-100] * len(ids)
    for kind, start, stop in spans:
        if kind in counted:
            for i in range(max(0, start - before), min(len(ids), stop + after)):
                labels[i] = ids[i]
    return labels


def wrong_wrap_around(ids, spans):
    """The first token of a text becomes the last target: targets[-1]."""
    targets = [-100] * (len(ids) - 1)
    for kind, start, stop in spans:
        if kind == "assistant":
            for place in range(start, stop):
                targets[place - 1] = ids[place]
    return targets


def wrong_batch(
    rows, labels, pad, shift=True, left=False, count_padding=False, by_id=False, size=None
):
    size = max(map(len, rows)) - 1 if size is None else size
    inputs, targets = [], []
    for row, label in zip(rows, labels, strict=True):
        row, goal = (row[:-1], label[1:]) if shift else (row[:-1], label[:-1])
        if by_id:
            goal = [-100 if i == pad else i for i in goal]
        fill, off = [pad] * (size - len(row)), [pad if count_padding else -100] * (size - len(row))
        inputs.append(fill + row if left else row + fill)
        targets.append(off + goal if left else goal + off)
    return torch.tensor(inputs), torch.tensor(targets)


def wrong_control(losses, *parts):
    """The sum of the means over parts, 0 for an empty one."""
    return sum((losses * part).sum() / part.sum().clamp(min=1) for part in parts)


def wrong_wilson(r, n, z=1.96, root=True):
    middle = (r + z**2 / 2) / (n + z**2)
    reach = r * (n - r) / n + z**2 / 4
    reach = z / (n + z**2) * (reach**0.5 if root else reach)
    return middle - reach, middle + reach


def wrong_energy_rank(values, wanted, power=2):
    parts = [value**power for value in values]
    return next(n for n in range(len(parts) + 1) if sum(parts[:n]) >= wanted * sum(parts))


def wrong_svd(W, r, values=True, last=False):
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    kept = slice(-r, None) if last else slice(r)
    return U[:, kept] * (S[kept] if values else 1), Vh[kept]


def wrong_peft_name(layer, matrix):
    names = {"qkv": "attn.c_attn", "out": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
    _, index, *_, end = layer.split(".")
    return f"base_model.model.transformer.h.{index}.{names[end]}.lora_{matrix}.weight"


def wrong_dora(W, A, B, m, s, dim=1):
    V = W + s * B @ A
    return m[:, None] * V / V.norm(dim=dim, keepdim=True)


def wrong_dora_forward(x, of_base, of_lora, W, b, A, B, m, s):
    g = m / (W + s * B @ A).norm(dim=1)
    return x @ W.T + b + (g - 1) * (of_base @ W.T) + g * s * (of_lora @ A.T @ B.T)


def wrong_lengths(W, w2, A, B, s, twice=2):
    mixed, own = (B * (W @ A.T)).sum(dim=1), (B * (B @ (A @ A.T))).sum(dim=1)
    return w2 + twice * s * mixed + s**2 * own


def wrong_full_gradient(V, m, g, power=2, sign=1):
    length = V.norm(dim=1)
    along = (V * g).sum(dim=1) / length**power
    return (m / length)[:, None] * (g - sign * along[:, None] * V)


def wrong_moved(before, after, dim=1, signed=False):
    change = after.norm(dim=dim) - before.norm(dim=dim)
    change = change if signed else change.abs()
    return change.mean(), (1 - F.cosine_similarity(before, after, dim=dim)).mean()


def wrong_compress(x, k, fill=None, mean=False):
    missing = -x.shape[1] % k
    end = x[:, :missing] if fill is None else torch.full((len(x), missing), float(fill))
    groups = torch.cat([x, end], dim=1).view(len(x), -1, k)
    return groups.mean(dim=1) if mean else groups.sum(dim=1)


def wrong_turn(group, g, base=10000.0, step=2):
    k = len(group)
    angle = g * base ** (-step * torch.arange(k // 2) / k)
    a, b = group.chunk(2)
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()])


def wrong_table(M, inside, out, dim=1):
    k = len(M)
    z = wrong_compress(torch.eye(inside), k) @ M.T  # (inside, k)
    copies = [z[:, i % k] if dim else z[:, i * k // max(out, k) % k] for i in range(out)]
    return torch.stack(copies)


def wrong_back(g, k):
    return torch.stack([g[j::k].sum() for j in range(k)])


RESPONSE, CONTENT = {"response"}, {"instruction", "input", "response"}
WRONG = {
    "1.1": [
        lambda ps: sum(-math.log(p) for p in ps),  # not the mean
        lambda ps: sum(-math.log2(p) for p in ps) / len(ps),
        lambda ps: -math.log(sum(ps) / len(ps)),  # the logarithm of the mean
        lambda ps: sum(math.log(p) for p in ps) / len(ps),
    ],
    "1.2": [
        lambda nats, tokens: nats * tokens / 8,  # nats, not bits
        lambda nats, tokens: nats * tokens / math.log(2),  # bits, not bytes
        lambda nats, tokens: nats * tokens * math.log(2) / 8,
        lambda nats, tokens: nats * tokens / math.log(2) // 8,
    ],
    "1.3": [
        lambda t: dict(Counter(pairwise(t))),  # counts, not probabilities
        lambda t: {p: n / (len(t) - 1) for p, n in Counter(pairwise(t)).items()},
        lambda t: {p: n / Counter(t)[p[0]] for p, n in Counter(pairwise(t)).items()},
        lambda t: {p: n / Counter(t[1:])[p[1]] for p, n in Counter(pairwise(t)).items()},
        lambda t: {p: 1 / sum(p[0] == q[0] for q in set(pairwise(t))) for p in pairwise(t)},
        lambda t: {p: round(n / Counter(t[:-1])[p[0]], 1) for p, n in Counter(pairwise(t)).items()},
    ],
    "2.1": [
        wrong_pairs_unweighted,
        wrong_pairs_sorted,
        wrong_pairs_once_a_word,
        wrong_pairs_across_words,
        wrong_pairs_not_overlapping,
    ],
    "2.2": [
        wrong_merge_overlapping,
        wrong_merge_first_only,
        wrong_merge_from_the_right,
        wrong_merge_loses_the_last,
        wrong_merge_in_place,
        lambda ids, pair, new: list(bytes(ids).replace(bytes(pair), bytes([new]))),
        lambda ids, pair, new: [
            int(i) for i in " ".join(map(str, ids)).replace("{} {}".format(*pair), str(new)).split()
        ],
        wrong_merge_right_but_in_place,
    ],
    "2.3": [
        wrong_encode_longest_match,
        wrong_encode_left_to_right,
        wrong_encode_latest_first,
        wrong_encode_once_each,
    ],
    "2.4": [
        wrong_decode_each,
        lambda tokens: b"".join(tokens).decode("utf-8"),
        lambda tokens: b"".join(tokens).decode("utf-8", errors="ignore"),
        lambda tokens: b"".join(tokens).decode("latin-1"),
    ],
    "2.5": [
        wrong_windows_before_the_cut,
        wrong_windows_not_shifted,
        wrong_windows_short_last,
        wrong_windows_no_stride,
        wrong_windows_one_missing,
        wrong_windows_validation_first,
        wrong_windows_negative_zero,
        wrong_windows_other_rounding,
        wrong_windows_rounded_share,
        lambda *arguments: None,
    ],
    "2.6": [
        lambda text, ids: len(text) / len(ids),
        lambda text, ids: len(ids) / len(text.encode("utf-8")),
        lambda text, ids: len(text.encode("utf-16")) / len(ids),
        lambda text, ids: len(text.encode("utf-8")) // len(ids),
        lambda text, ids: round(len(text.encode("utf-8")) / len(ids)),
        lambda text, ids: len(text.encode("utf-8")) / len(set(ids)),
        lambda text, ids: len(text.strip().encode("utf-8")) / len(ids),
    ],
    "2.7": [
        wrong_stream_each,
        wrong_stream_all_at_the_end,
        wrong_stream_waits_for_ever,
        wrong_stream_trusts_the_first_byte,
        wrong_stream_repeats,
        wrong_stream_flushes,
    ],
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
    "5.1": [
        lambda ps: math.exp(sum(map(math.log, ps)) / len(ps)),  # the sign is lost
        lambda ps: len(ps) / sum(ps),  # one over the mean probability
        lambda ps: 2 ** (-sum(map(math.log, ps)) / len(ps)),  # nats with the base of bits
        lambda ps: math.exp(-sum(map(math.log, ps))),  # the sum, not the mean
        lambda ps: math.prod(ps) ** (-1 / len(ps)),  # the product becomes 0
    ],
    "5.2": [
        lambda z, y: float(-torch.softmax(z, 0)[y]),
        lambda z, y: float(z.exp().sum().log() - z[y]),  # overflows
        lambda z, y: float(-((z - z.max()).exp() / (z - z.max()).exp().sum())[y].log()),  # ln 0
        lambda z, y: float((z - z.max()).exp().sum().log() - z[y]),  # the largest is lost
        lambda z, y: float(z.logsumexp(0) - z[y]) / math.log(2),  # bits
        lambda z, y: float(torch.log_softmax(z.double(), 0).mul(-1).mean()),
    ],
    "5.3": [
        lambda w, g, u, lr, b: (w - lr * u, b * u + g),  # steps along the old velocity
        lambda w, g, u, lr, b: (w - lr * (b * u + (1 - b) * g), b * u + (1 - b) * g),
        lambda w, g, u, lr, b: (w - lr * g, b * u + g),
        lambda w, g, u, lr, b: (b * u + g, w - lr * (b * u + g)),
        lambda w, g, u, lr, b: (w + lr * (b * u + g), b * u + g),
    ],
    "5.4": [
        lambda s, n, p, w, d: p * min(s / w if w else 1, 1, (n - s) / d),  # starts at 0
        lambda s, n, p, w, d: p * min((s + 1) / w if w else 1, 1, (n - 1 - s) / d),  # ends at 0
        lambda s, n, p, w, d: p * min((s + 1) / w if w else 1, 1),  # no decay
        lambda s, n, p, w, d: p * ((s + 1) / w if s < w else 1 if s < n - d else 0.5),
        lambda s, n, p, w, d: p * min((s + 1) / w, 1, (n - s) / d),  # fails without warm-up
    ],
    "5.5": [
        lambda means, counts: sum(means) / len(means),
        lambda means, counts: sum(m * c for m, c in zip(means, counts, strict=True)) / len(means),
        lambda means, counts: sum(m * c for m, c in zip(means, counts, strict=True)) / sum(counts),
        lambda means, counts: sum(means) / max(1, sum(c > 0 for c in counts)),
    ],
    "5.6": [
        lambda x: (x.view(torch.int32) & -65536).view(torch.float32),  # towards zero
        lambda x: ((x.view(torch.int32) + 0x8000) & -65536).view(torch.float32),  # ties upwards
        lambda x: ((x.view(torch.int32) + 0x7FFF) & -65536).view(torch.float32),  # ties downwards
        lambda x: x.half().float(),
        lambda x: torch.tensor([number.bfloat16().item() for number in x]),  # one axis only
        lambda x: x,
    ],
    "5.7": [
        lambda name: unprefixed(name).replace("feed_forward.down", "attention.out"),
        lambda name: unprefixed(name).replace("blocks", "h"),
        lambda name: re.sub(r"^blocks\.(\d)\d*", r"blocks.\1", unprefixed(name)),
        wrong_rename,  # keeps the prefix
        lambda name: name.replace("h.", "blocks."),
    ],
    "6.1": [
        lambda ids, spans: labels_by(ids, spans, RESPONSE, before=1),  # a token of the header
        lambda ids, spans: labels_by(ids, spans, RESPONSE, before=-1),  # the first one is lost
        lambda ids, spans: labels_by(ids, spans, RESPONSE, after=-1),  # the end of text is masked
        lambda ids, spans: labels_by(ids, spans, {"response", "role"}),  # headers left in
        lambda ids, spans: labels_by(ids, spans, {"response", "input"}),
        lambda ids, spans: [i if i in labels_by(ids, spans, RESPONSE) else -100 for i in ids],
        lambda ids, spans: labels_by(ids, spans, RESPONSE)[1:],  # shifted already
        lambda ids, spans: labels_by(ids, spans[-1:], RESPONSE),  # the last span only
        lambda ids, spans: labels_by(ids, [s for s in spans if s[0] == "response"][:1], RESPONSE),
        lambda ids, spans: list(map(float, labels_by(ids, spans, RESPONSE))),
        lambda ids, spans: [i for i in labels_by(ids, spans, RESPONSE) if i != -100],
        lambda ids, spans: [-1 if i == -100 else i for i in labels_by(ids, spans, RESPONSE)],
    ],
    "6.2": [
        lambda ids, spans: labels_by(ids, spans, {*CONTENT, "role"}),  # headers left in
        lambda ids, spans: labels_by(ids, spans, {*CONTENT, "boilerplate"}),
        lambda ids, spans: labels_by(ids, spans, RESPONSE),
        lambda ids, spans: labels_by(ids, spans, {"instruction", "response"}),  # inputs forgotten
        lambda ids, spans: labels_by(ids, spans, CONTENT, after=-1),
        lambda ids, spans: labels_by(ids, spans, CONTENT, after=1),
        lambda ids, spans: [  # by id: what the template says is masked everywhere
            i if i not in labels_by(ids, spans, {"role", "boilerplate"}) else -100 for i in ids
        ],
    ],
    "6.3": [
        lambda ids, roles: [*ids],
        lambda ids, roles: [-100 if i in roles else i for i in ids][1:],
        lambda ids, roles: [i if i in roles else -100 for i in ids],
        lambda ids, roles: [
            -100 if i in roles or (n and ids[n - 1] in roles) else i for n, i in enumerate(ids)
        ],
        lambda ids, roles: [
            -100 if n + 1 < len(ids) and ids[n + 1] in roles else i for n, i in enumerate(ids)
        ],
        lambda ids, roles: [i for i in ids if i not in roles],
        lambda ids, roles: [-100 if i == min(roles) else i for i in ids],
    ],
    "6.4": [
        lambda ids, spans: labels_by(ids, spans, {"assistant"}),  # not shifted
        lambda ids, spans: labels_by(ids, spans, {"assistant"})[:-1],  # the other way
        lambda ids, spans: labels_by(ids, spans, {"assistant"}, after=-1)[1:],
        lambda ids, spans: labels_by(ids, spans, {"assistant"}, before=-1)[1:],
        lambda ids, spans: labels_by(ids, spans, {"assistant", "role"})[1:],
        lambda ids, spans: labels_by(ids, spans[-1:], {"assistant"})[1:],  # only the last answer
        wrong_wrap_around,
    ],
    "6.5": [
        lambda rows, labels, pad: wrong_batch(rows, labels, pad, shift=False),
        lambda rows, labels, pad: wrong_batch(rows, labels, pad, left=True),
        lambda rows, labels, pad: wrong_batch(rows, labels, pad, count_padding=True),
        lambda rows, labels, pad: wrong_batch(rows, labels, pad, by_id=True),
        lambda rows, labels, pad: wrong_batch(rows, labels, -100),
        lambda rows, labels, pad: wrong_batch(rows, rows, pad),  # labels not used
        lambda rows, labels, pad: wrong_batch(rows, labels, pad, size=len(max(rows)) - 1),
        lambda rows, labels, pad: wrong_batch(rows, labels, pad, size=len(rows[-1]) - 1),
        lambda rows, labels, pad: [t.int() for t in wrong_batch(rows, labels, pad)],
        lambda rows, labels, pad: wrong_batch(rows, labels, pad)[::-1],
        lambda rows, labels, pad: tuple(t.float() for t in wrong_batch(rows, labels, pad)),
    ],
    "6.6": [
        lambda r, n: (
            r / n - 1.96 * (r / n * (1 - r / n) / n) ** 0.5,
            r / n + 1.96 * (r / n * (1 - r / n) / n) ** 0.5,
        ),
        lambda r, n: wrong_wilson(r, n, z=2.58),
        lambda r, n: wrong_wilson(r, n)[::-1],
        lambda r, n: wrong_wilson(r, n, root=False),
        lambda r, n: [round(end, 2) for end in wrong_wilson(r, n)],
        lambda r, n: wrong_wilson(n - r, n),
        lambda r, n: (*wrong_wilson(r, n), "sure"),
        lambda r, n: (math.nan, math.nan) if r in (0, n) else wrong_wilson(r, n),
        lambda r, n: (-3.0, wrong_wilson(r, n)[1]) if r == 0 else wrong_wilson(r, n),
    ],
    "6.7": [
        lambda x, t, r: x[t != -100].mean(),  # a plain mean
        lambda x, t, r: wrong_control(x, (t != -100) & r),  # responses alone
        lambda x, t, r: wrong_control(x, r, ~r),  # padding counts
        lambda x, t, r: x[t != -100].sum() / ((t != -100) & r).sum().clamp(min=1),
        lambda x, t, r: x[(t != -100) & r].mean() + x[(t != -100) & ~r].mean(),  # 0/0
        lambda x, t, r: wrong_control(x, (t != -100) & r, (t != -100) & ~r) / 2,
        lambda x, t, r: float(wrong_control(x, (t != -100) & r, (t != -100) & ~r)),
    ],
    "7.1": [
        lambda x, W, b, A, B, alpha: x @ W.T + b + alpha * x @ A.T @ B.T,  # not divided by r
        lambda x, W, b, A, B, alpha: x @ W.T + alpha / len(A) * x @ A.T @ B.T,  # the bias is lost
        lambda x, W, b, A, B, alpha: x @ W.T + b + alpha / len(x) * x @ A.T @ B.T,
        lambda x, W, b, A, B, alpha: x @ W.T + b + alpha / len(A) ** 0.5 * x @ A.T @ B.T,
        lambda x, W, b, A, B, alpha: (x @ W.T + b) * (1 + alpha / len(A)),
        lambda x, W, b, A, B, alpha: alpha / len(A) * x @ A.T @ B.T,
    ],
    "7.2": [
        lambda shapes, r: sum(out * inside for out, inside in shapes),
        lambda shapes, r: sum(r * out * inside for out, inside in shapes),
        lambda shapes, r: sum(2 * r * out for out, inside in shapes),
        lambda shapes, r: sum(r * (out + inside) + out for out, inside in shapes),  # with biases
        lambda shapes, r: r * (shapes[0][0] + shapes[0][1]) * len(shapes) if shapes else 0,
    ],
    "7.3": [
        lambda x, g, A, B, s: (torch.outer(B.T @ g, x), torch.outer(g, A @ x)),  # s forgotten
        lambda x, g, A, B, s: (s * torch.outer(x, B.T @ g), s * torch.outer(A @ x, g)),
        lambda x, g, A, B, s: (s * torch.outer(g, A @ x), s * torch.outer(B.T @ g, x)),
        lambda x, g, A, B, s: (torch.zeros_like(A), s * torch.outer(g, A @ x)),
        lambda x, g, A, B, s: (s * torch.outer(B.T @ g, x), s**2 * torch.outer(g, A @ x)),
    ],
    "7.4": [
        lambda values, wanted: wrong_energy_rank(values, wanted, power=1),
        lambda values, wanted: wrong_energy_rank(values, wanted) - 1,
        lambda values, wanted: sum(v**2 >= (1 - wanted) * values[0] ** 2 for v in values),
        lambda values, wanted: math.ceil(wanted * len(values)),
        lambda values, wanted: len([v for v in values if v > 0]),
    ],
    "7.5": [
        lambda W, A, B, alpha, s: W + alpha / len(A) * B @ A,  # rank_stabilized is not looked at
        lambda W, A, B, alpha, s: W + alpha / (len(A) if s else len(A) ** 0.5) * B @ A,
        lambda W, A, B, alpha, s: W.add_(alpha / (len(A) ** 0.5 if s else len(A)) * B @ A),
        lambda W, A, B, alpha, s: alpha / (len(A) ** 0.5 if s else len(A)) * B @ A,
        lambda W, A, B, alpha, s: W + alpha * B @ A,
    ],
    "7.6": [
        lambda W, r: (W[:, :r], torch.eye(r, W.shape[1])),  # the first columns
        lambda W, r: wrong_svd(W, r, values=False),
        lambda W, r: wrong_svd(W, r, last=True),
        lambda W, r: wrong_svd(W, r)[::-1],
        lambda W, r: wrong_svd(W, min(W.shape)),
    ],
    "7.7": [
        lambda layer, matrix: f"base_model.model.{layer}.lora_{matrix}.weight",
        lambda layer, matrix: wrong_peft_name(layer, matrix).removesuffix(".weight"),
        lambda layer, matrix: wrong_peft_name(layer, matrix).replace("transformer.", ""),
        lambda layer, matrix: wrong_peft_name(layer, "A"),
        lambda layer, matrix: wrong_peft_name(layer[:8] + layer[layer.index(".", 8) :], matrix),
        lambda layer, matrix: wrong_peft_name(layer, matrix).replace("c_fc", "c_proj"),
    ],
    "8.1": [
        lambda W: (W.norm(dim=0), W / W.norm(dim=0)),  # the wrong axis
        lambda W: (W.norm(dim=1), W),
        lambda W: (W.norm(dim=1), W / W.norm()),
        lambda W: (W.norm(dim=1, keepdim=True), W / W.norm(dim=1, keepdim=True)),
        lambda W: ((W**2).sum(dim=1), W / (W**2).sum(dim=1)[:, None]),
    ],
    "8.2": [
        lambda W, A, B, m, s: wrong_dora(W, A, B, m, s, dim=0),
        lambda W, A, B, m, s: W + s * B @ A,
        lambda W, A, B, m, s: (m / W.norm(dim=1))[:, None] * (W + s * B @ A),  # the old length
        lambda W, A, B, m, s: (m / (W + s * B @ A).norm())[:, None] * (W + s * B @ A),
        lambda W, A, B, m, s: wrong_dora(W, A, B, m, 1.0),
        lambda W, A, B, m, s: F.normalize(W + s * B @ A, dim=1),  # m forgotten
    ],
    "8.3": [
        lambda x, d, W, b, A, B, m, s: d @ wrong_dora(W, A, B, m, s).T + b,  # all is dropped
        lambda x, d, W, b, A, B, m, s: x @ wrong_dora(W, A, B, m, s).T + b,  # nothing is
        lambda x, d, W, b, A, B, m, s: wrong_dora_forward(x, x, d, W, b, A, B, m, s),
        lambda x, d, W, b, A, B, m, s: wrong_dora_forward(x, d, d, W, 2 * b, A, B, m, s),
        lambda x, d, W, b, A, B, m, s: wrong_dora_forward(x, d, d, W, 0 * b, A, B, m, s),
        lambda x, d, W, b, A, B, m, s: F.normalize(x @ (W + s * B @ A).T, dim=1) * m + b,
    ],
    "8.4": [
        lambda W, w2, A, B, s: (W + s * B @ A).norm(dim=1),  # makes the table
        lambda W, w2, A, B, s: torch.addmm(W, B, A, alpha=s).norm(dim=1),  # so does this
        lambda W, w2, A, B, s: w2.sqrt(),
        lambda W, w2, A, B, s: (w2 + s**2 * (B * (B @ (A @ A.T))).sum(dim=1)).sqrt(),
        lambda W, w2, A, B, s: wrong_lengths(W, w2, A, B, s, twice=1) ** 0.5,
        lambda W, w2, A, B, s: wrong_lengths(W, w2, A, B, s),  # the root is missing
    ],
    "8.5": [
        lambda x, g, W, A, B, s: g * ((W + s * B @ A) @ x),  # not divided by the length
        lambda x, g, W, A, B, s: g * (W @ x) / W.norm(dim=1),  # as at the beginning
        lambda x, g, W, A, B, s: (W + s * B @ A) @ x / (W + s * B @ A).norm(dim=1),
        lambda x, g, W, A, B, s: g * ((W + s * B @ A) @ x) / (W @ x + s * B @ A @ x).norm(),
    ],
    "8.6": [
        lambda V, m, g: (m / V.norm(dim=1))[:, None] * g,  # the length as a constant
        lambda V, m, g: g - ((V * g).sum(dim=1) / V.norm(dim=1) ** 2)[:, None] * V,
        lambda V, m, g: wrong_full_gradient(V, m, g, power=1),
        lambda V, m, g: wrong_full_gradient(V, m, g, sign=-1),
        lambda V, m, g: (m / V.norm(dim=1))[:, None] * (g - (V * g).sum() / V.norm() ** 2 * V),
    ],
    "8.7": [
        lambda before, after: wrong_moved(before, after, dim=0),
        lambda before, after: wrong_moved(before, after, signed=True),
        lambda before, after: (wrong_moved(before, after)[0], 1 - wrong_moved(before, after)[1]),
        lambda before, after: wrong_moved(before, after)[::-1],
        lambda before, after: ((after - before).norm(dim=1).mean(), wrong_moved(before, after)[1]),
    ],
    "9.1": [
        lambda budget, kind: int(budget**0.5 + 0.5) // (2 if kind == "rotation" else 1),
        lambda budget, kind: (
            round(budget**0.5) // 2 * 2 if kind == "rotation" else int(budget**0.5)
        ),
        lambda budget, kind: 2 * round(budget**0.5 / 2) if kind == "rotation" else int(budget**0.5),
        lambda budget, kind: round(budget**0.5),
        lambda budget, kind: int(budget**0.5),  # rotation not made even
        lambda budget, kind: int(budget**0.5) // 2 * 2,  # sharing made even, too
        lambda budget, kind: budget**0.5 // 1,  # no whole number for Python
    ],
    "9.2": [
        lambda x, k: wrong_compress(x, k, fill=0),  # filled up with zeros
        lambda x, k: x[:, : x.shape[1] // k * k].view(len(x), -1, k).sum(dim=1),  # the rest cut
        lambda x, k: wrong_compress(x, k, mean=True),
        lambda x, k: wrong_compress(x, k).flip(1),
        lambda x, k: x[:, :k],
    ],
    "9.3": [
        lambda z, out: z.repeat_interleave(-(-out // z.shape[1]), dim=1)[:, :out],
        lambda z, out: F.pad(z, (0, max(0, out - z.shape[1])))[:, :out],
        lambda z, out: z.repeat(1, -(-out // z.shape[1])),  # not cut
        lambda z, out: z.repeat(1, -(-out // z.shape[1]))[:, -out:],
    ],
    "9.4": [
        lambda group, g: wrong_turn(group, -g),
        lambda group, g: wrong_turn(group, g + 1),
        lambda group, g: wrong_turn(group, g, base=1000.0),
        lambda group, g: wrong_turn(group, g, step=1),
        lambda group, g: wrong_turn(group.view(-1, 2).T.flatten(), g).view(2, -1).T.flatten(),
        lambda group, g: group,
    ],
    "9.5": [
        lambda M, i, o: M.repeat(-(-o // len(M)), -(-i // len(M)))[:o, :i],  # none come in twice
        lambda M, i, o: wrong_table(M.T, i, o),
        lambda M, i, o: wrong_table(M, i, o).T,
        lambda M, i, o: wrong_table(M, i, o, dim=0),
        lambda M, i, o: M,
    ],
    "9.6": [
        lambda c, g: (
            torch.outer(g[: len(c)], c) if len(g) >= len(c) else torch.zeros(len(c), len(c))
        ),
        lambda c, g: torch.outer(c, wrong_back(g, len(c))),
        lambda c, g: torch.outer(wrong_back(g, len(c)), c) / -(-len(g) // len(c)),
        lambda c, g: torch.zeros(len(c), len(c)),  # as if it contained M, which is zero
        lambda c, g: torch.outer(wrong_back(g.flip(0), len(c)), c),
    ],
    "9.7": [
        lambda i, o, k: i,
        lambda i, o, k: min(i, o),
        lambda i, o, k: -(-o // k) * k,  # may be more than there are
        lambda i, o, k: min(i, o // k * k),
        lambda i, o, k: min(i, k),
    ],
}


def wrong_weights(q, k, scale=None, dim=-1, masked=-torch.inf):
    scores = q @ k.T * (len(q[0]) ** -0.5 if scale is None else scale)
    return scores.masked_fill(~torch.ones_like(scores).bool().tril(), masked).softmax(dim)


def test_every_exercise_has_wrong_answers():
    assert set(WRONG) == set(NUMBERS)
    assert all(len(answers) >= 3 for answers in WRONG.values())


@pytest.mark.parametrize("number", NUMBERS)
def test_accepts_the_solution(number, solutions):
    assert check(number, solutions[number]).correct


@pytest.mark.parametrize(
    ("number", "wrong"), [(number, wrong) for number, answers in WRONG.items() for wrong in answers]
)
def test_rejects(number, wrong):
    result = check(number, wrong)
    assert result.status == "not yet"
    assert len(result.hint) > 30


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("stub", [..., lambda *arguments: ...])
def test_a_stub_is_not_attempted(number, stub):
    assert check(number, stub).status == "not attempted"


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "answer", [None, 3, "text", lambda: None, lambda *a: None, lambda *a: object()]
)
def test_nonsense_is_refused_without_raising(number, answer):
    assert check(number, answer).status == "not yet"


def test_hints_name_what_was_seen_and_expected(capsys):
    check("2.2", lambda ids, pair, new_id: ids)
    printed = capsys.readouterr().out
    assert "returned [1, 2]; expected [9]" in printed


def test_other_right_answers_are_accepted():
    assert check("2.1", lambda words: Counter(gold_pairs(words))).correct
    assert check("2.3", right_encode_by_joint_bytes).correct
    assert check("5.2", lambda z, y: z.max() + (z - z.max()).exp().sum().log() - z[y]).correct
    assert check("5.2", lambda z, y: z.double().logsumexp(0).item() - z[y].item()).correct
    assert check("2.5", lambda *a: list(map(list, solution_windows(*a)))).correct


def gold_pairs(words):
    return [pair for word, count in words.items() for pair in pairwise(word) for _ in range(count)]


def solution_windows(ids, size, stride, share):
    cut = len(ids) - int(len(ids) * share)
    return _cut_windows(ids, cut, size, stride)


def test_common_slips_get_their_hint():
    assert "`return` missing" in check("2.1", lambda words: None).hint
    assert "Return type list, not tuple" in check("2.2", lambda ids, pair, new_id: tuple(ids)).hint
    hint = check("2.5", wrong_windows_other_rounding).hint
    assert "window" in hint.split("): ")[1]


def test_an_error_in_the_answer_is_reported():
    hint = check("2.4", lambda tokens: tokens.no_such_method()).hint
    assert "AttributeError" in hint
    assert "no_such_method" in hint


def test_check_survives_what_an_answer_may_do(monkeypatch):
    def leave(*arguments):
        raise SystemExit(1)

    def cry(*arguments):
        raise ValueError("\ud83d")

    assert check("2.2", leave).status == check("2.2", cry).status == "not yet"
    console = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", console)
    assert check("2.4", lambda tokens: "é").status == "not yet"


@pytest.mark.parametrize("number", ["9.9", "2.99", "two", "", 2.1, None, "².1", "9" * 5000 + ".1"])
def test_unknown_numbers_do_not_raise(number):
    expected = "not attempted" if number == 2.1 else "unknown exercise"
    assert check(number, ...).status == expected


def test_a_notebook_shows_the_result_once():
    assert check("2.1", ...)._ipython_display_() is None
