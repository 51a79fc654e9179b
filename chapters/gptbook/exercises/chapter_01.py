"""Checks of chapter 1's exercises."""

import math

from gptbook.exercises import close, exercise


@exercise("1.1")
def text_loss(answer):
    hint = (
        "Each token costs -ln p, with the natural logarithm; the text's loss is the mean of these."
    )
    for probabilities in ([1.0], [0.5], [0.5, 0.25], [0.9, 0.01, 0.3]):
        losses = [-math.log(p) for p in probabilities]
        answer.expect(sum(losses) / len(losses), probabilities, same=close, hint=hint)


@exercise("1.2")
def compressed_bytes(answer):
    hint = "Take the nats of all tokens; 1 bit is ln 2 nats, and 8 bits are a byte."
    answer.expect(1.0, math.log(2), 8, same=close, hint=hint)
    answer.expect(2.0, 8 * math.log(2), 2, same=close, hint=hint)
    answer.expect(3.0 * 1000 / math.log(2) / 8, 3.0, 1000, same=close, hint=hint)


@exercise("1.3")
def bigram_probabilities(answer):
    hint = "Divide how often the pair occurs by how often its first token is followed by anything."

    def same(got, wanted):
        return set(got) == set(wanted) and all(close(got[pair], wanted[pair]) for pair in wanted)

    answer.expect({("a", "b"): 1.0}, ["a", "b"], same=same, hint=hint)
    answer.expect(
        {("a", "b"): 0.5, ("a", "a"): 0.5, ("b", "a"): 1.0},
        ["a", "b", "a", "a"],
        same=same,
        hint=hint,
    )
    text = ["to", "be", "or", "not", "to", "be", "to"]
    wanted = {
        ("to", "be"): 1.0,
        ("be", "or"): 0.5,
        ("or", "not"): 1.0,
        ("not", "to"): 1.0,
        ("be", "to"): 0.5,
    }
    answer.expect(wanted, text, same=same, hint=hint)
    thirds = {("a", "b"): 2 / 3, ("a", "c"): 1 / 3, ("b", "a"): 1.0}
    answer.expect(thirds, ["a", "b", "a", "b", "a", "c"], same=same, hint=hint)
