"""Checks of chapter 1's exercises."""

import math

from gptbook.exercises import close, exercise


@exercise("1.1")
def uniform_loss(answer):
    for vocab_size in (2, 256, 50257):
        answer.expect(
            math.log(vocab_size),
            vocab_size,
            same=close,
            hint="Each token has probability 1/vocab_size; the loss is minus its logarithm.",
        )


@exercise("1.2")
def bits_per_byte(answer):
    hint = "Add up the nats of all tokens, turn them into bits (1 bit = ln 2 nats), share them out."
    answer.expect(1.0, math.log(2), 10, 10, same=close, hint=hint)
    answer.expect(0.5, math.log(2), 10, 20, same=close, hint=hint)
    answer.expect(3.0 * 1000 / 3500 / math.log(2), 3.0, 1000, 3500, same=close, hint=hint)


@exercise("1.3")
def bigram_probabilities(answer):
    hint = "Divide how often the pair occurs by how often its first token is followed by anything."
    answer.expect({("a", "b"): 1.0}, ["a", "b"], hint=hint)
    answer.expect(
        {("a", "b"): 0.5, ("a", "a"): 0.5, ("b", "a"): 1.0}, ["a", "b", "a", "a"], hint=hint
    )
    text = ["to", "be", "or", "not", "to", "be", "to"]
    wanted = {
        ("to", "be"): 1.0,
        ("be", "or"): 0.5,
        ("or", "not"): 1.0,
        ("not", "to"): 1.0,
        ("be", "to"): 0.5,
    }
    answer.expect(wanted, text, hint=hint)
