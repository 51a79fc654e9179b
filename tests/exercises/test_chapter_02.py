"""Wrong answers to the exercises of chapter 2, each rejected with a hint."""

import codecs
from collections import Counter
from itertools import pairwise

import gptbook.bpe
import gptbook.exercises
from gptbook.exercises import check
from tests.exercises.helpers import assert_rejected, wrong_answers
from tests.helpers import token_table


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


def gold_pairs(words):
    return [pair for word, count in words.items() for pair in pairwise(word) for _ in range(count)]


def solution_windows(ids, size, stride, share):
    cut = len(ids) - int(len(ids) * share)
    return _cut_windows(ids, cut, size, stride)


WRONG = {
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
}


@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)


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


def test_common_slips_get_their_hint():
    assert "`return` missing" in check("2.1", lambda words: None).hint
    assert "Return type list, not tuple" in check("2.2", lambda ids, pair, new_id: tuple(ids)).hint
    hint = check("2.5", wrong_windows_other_rounding).hint
    assert "window" in hint.split("): ")[1]


def test_an_error_in_the_answer_is_reported():
    hint = check("2.4", lambda tokens: tokens.no_such_method()).hint
    assert "AttributeError" in hint
    assert "no_such_method" in hint
