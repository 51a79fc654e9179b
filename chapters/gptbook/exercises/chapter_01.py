"""Checks of chapter 1's exercises."""

import math
from collections import Counter, defaultdict

from gptbook.exercises import close, exercise, many_small


def _picked(predictions, tokens):
    return [prediction[token] for prediction, token in zip(predictions, tokens, strict=True)]


@exercise("1.1")
def text_loss(answer):
    hint = "Each token costs -ln p of the token that came; the text's loss is the mean of these."

    def mean(predictions, tokens, log=math.log):
        return -sum(map(log, _picked(predictions, tokens))) / len(tokens)

    mistakes = [
        (lambda q, t: mean(q, t) * len(t), "This is the sum over the tokens, not their mean."),
        (lambda q, t: -mean(q, t), "The sign is wrong: ln p is negative, the loss is not."),
        (lambda q, t: mean(q, t, math.log2), "These are bits; nats take the natural logarithm."),
        (
            lambda q, t: -math.log(sum(_picked(q, t)) / len(t)),
            "This is the logarithm of the mean probability, not the mean of the logarithms.",
        ),
        (
            lambda q, t: sum(-math.log(max(each.values())) for each in q) / len(t),
            "This takes the largest probability of each prediction, not that of the token that "
            "came.",
        ),
        (lambda q, t: sum(_picked(q, t)) / len(t), "This is the mean probability."),
    ]
    first, second = {"a": 0.5, "b": 0.25, "c": 0.25}, {"a": 0.125, "b": 0.75, "c": 0.125}
    for predictions, tokens in (
        ([{"a": 1.0}], ["a"]),
        ([first], ["a"]),
        ([first, second], ["b", "a"]),
        ([first, second, first], ["a", "b", "c"]),
    ):
        answer.expect(
            mean(predictions, tokens), predictions, tokens, same=close, hint=hint, mistakes=mistakes
        )
    long = [{"a": p, "b": 1 - p} for p in many_small()]
    answer.expect(
        -math.log(0.01),
        long,
        ["a"] * len(long),
        same=close,
        hint="The product of 500 probabilities of 0.01 is 10 to the power of -1000, less than any "
        "float, so it becomes 0. Add logarithms; do not multiply probabilities.",
    )


@exercise("1.2")
def compressed_bytes(answer):
    hint = "Take the nats of all tokens; 1 bit is ln 2 nats, and 8 bits are a byte."
    ln2 = math.log(2)
    mistakes = [
        (lambda nats, n: nats * n / 8, "Nats are no bits yet."),
        (lambda nats, n: nats * n / ln2, "This is the number of bits."),
        (lambda nats, n: nats * n * ln2 / 8, "1 bit is ln 2 nats, so there are more bits."),
        (lambda nats, n: nats / ln2 / 8, "This is what one token takes."),
        (lambda nats, n: nats * n / ln2 // 8, "Do not round."),
        (lambda nats, n: math.ceil(nats * n / ln2 / 8), "Do not round."),
    ]
    for nats, tokens in ((ln2, 8), (8 * ln2, 2), (ln2, 12), (3.0, 1000)):
        wanted = nats * tokens / ln2 / 8
        answer.expect(wanted, nats, tokens, same=close, hint=hint, mistakes=mistakes)


def _following(tokens, n, divide=True, total=None):
    counts = defaultdict(Counter)
    for i in range(len(tokens) - n):
        counts[tuple(tokens[i : i + n])][tokens[i + n]] += 1
    return {
        context: {
            token: count / (total or sum(after.values())) if divide else count
            for token, count in after.items()
        }
        for context, after in counts.items()
    }


@exercise("1.3")
def following(answer):
    hint = "For each context, divide how often a token came after it by how often anything did."

    def with_the_last(tokens, n):
        """Divides by how often the context occurs, also at the end, where nothing follows."""
        seen = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
        counts = _following(tokens, n, divide=False)
        return {c: {t: k / seen[c] for t, k in after.items()} for c, after in counts.items()}

    def same(got, wanted):
        return got.keys() == wanted.keys() and all(
            got[c].keys() == wanted[c].keys()
            and all(close(got[c][t], wanted[c][t]) for t in wanted[c])
            for c in wanted
        )

    def by_token(tokens, n):
        """The contexts of one token as the token itself."""
        return {c[0] if n == 1 else c: after for c, after in _following(tokens, n).items()}

    def only_pairs(tokens, n):
        return _following(tokens, 1)

    mistakes = [
        (lambda t, n: _following(t, n, divide=False), "These are counts, not probabilities."),
        (
            lambda t, n: _following(t, n, total=len(t) - n),
            "Divide by how often this context was followed by anything, not by all positions.",
        ),
        (
            with_the_last,
            "The probabilities after a context must add up to 1. Where the text ends, a context "
            "is followed by nothing; that must not count.",
        ),
        (by_token, "A context is a tuple, also with one token in it: ('tick',)."),
        (only_pairs, "This looks at one token, whatever n is."),
        (
            lambda t, n: _following(t[:-1], n),
            "The last token of the text follows something, too: go on to len(tokens) - n - 1.",
        ),
    ]
    clock = ["tick", "tick", "tock", "tick", "tick", "tock", "tick", "tick"]
    abc = ["a", "b", "a", "b", "a", "c"]
    for tokens, n in (
        (["a", "b"], 1), (abc, 1), (["b", "a", "a", "b"], 1), (clock, 1), (clock, 2), (abc, 3),
        (["a", "b", "a", "a"], 0),
    ):  # fmt: skip
        last = " With n = 0 there is one context, the empty tuple ()." if n == 0 else ""
        answer.expect(
            _following(tokens, n), tokens, n, same=same, hint=hint + last, mistakes=mistakes
        )


@exercise("1.4")
def two_losses(answer):
    frequencies = (1 / 2, 1 / 4, 1 / 8, 1 / 8)
    numbers = [0.0] * len(frequencies)  # one for each token, and no context: a unigram model
    for _ in range(200):
        total = sum(map(math.exp, numbers))
        probabilities = [math.exp(x) / total for x in numbers]
        numbers = [
            x - 2 * (p - f) for x, p, f in zip(numbers, probabilities, frequencies, strict=True)
        ]
    plateau = -sum(f * math.log(p) for f, p in zip(frequencies, probabilities, strict=True))
    answer.predicts(
        (math.log(50_257), plateau),
        tolerance=0.006,
        explain="Untrained, all tokens are about equally probable: the loss is ln V, with V the "
        "size of the vocabulary. Without context the best answer is the frequencies, always: "
        "½ · ln 2 + ¼ · ln 4 + ⅛ · ln 8 + ⅛ · ln 8, in nats.",
        names=("the untrained loss", "the loss where it gets stuck"),
    )


@exercise("1.5")
def perplexities(answer):
    answer.predicts(
        (100.0, 50.0, 2.0),
        tolerance=(0.5, 0.5, 0.05),
        explain="Perplexity is e to the power of the loss. A difference of losses becomes a ratio "
        "of perplexities: 4.605 - 3.912 = 0.693, and e to the power of 0.693 is 2.",
        names=("the first perplexity", "the second perplexity", "the ratio"),
    )


def _descend(learning_rate, steps, fraction, w=0.0):
    """The weight of the chapter's one-weight model before each step and after the last."""
    path = [w]
    for _ in range(steps):
        path.append(path[-1] - learning_rate * (1 / (1 + math.exp(-path[-1])) - fraction))
    return path


@exercise("1.6")
def one_step(answer):
    explain = (
        "The gradient at w = 0 is p - 0.9 = 0.5 - 0.9. A step against it adds 2 · 0.4 to w, and "
        "the logistic function makes a probability of that."
    )
    w = _descend(2.0, 1, 0.9)[-1]
    got = answer()
    three = isinstance(got, (tuple, list)) and len(got) == 3
    if three and isinstance(got[1], float) and got[1] < 0:
        explain = "That step goes uphill: subtract the learning rate times the gradient."
    answer.predicts(
        (w / -2.0, w, 1 / (1 + math.exp(-w))),
        tolerance=0.006,
        explain=explain,
        names=("the gradient", "the new weight", "the new probability"),
    )


@exercise("1.7")
def largest_rate(answer):
    settled = [
        rate
        for rate in range(1, 31)
        if abs(1 / (1 + math.exp(-_descend(rate, 200, 0.6)[-1])) - 0.6) < 0.001
    ]
    answer.measures(
        max(settled),
        hint="For each whole learning rate from 1 on, take 200 steps from w = 0 and look at p: is "
        "it 0.6, to three digits, or does it still jump from one side to the other?",
    )


LOSES_TRACK = 19  # measured with the base model; a test measures it again


@exercise("1.8")
def loses_track(answer):
    answer.measures(
        LOSES_TRACK,
        hint="After an odd number of moves Otto has the boat, after an even number Mila. Does the "
        "story begin and end exactly as given, and is the first n that fails the one returned?",
    )
