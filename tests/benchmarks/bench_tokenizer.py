"""Our tokenizer beside tokenizers and tiktoken: training on and encoding 1 MB of real text.

python tests/benchmarks/bench_tokenizer.py
"""

import os

os.environ["RAYON_NUM_THREADS"] = "1"  # tokenizers on one thread, as we are
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import random
import time

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from gptbook.data import python_docs
from gptbook.tokenizer import BPETokenizer

ROUNDS, VOCAB_SIZE = 5, 4096


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def real_text():
    """Return 1 MB to train on and 0.8 MB that is held out."""
    documents = list(python_docs())
    random.Random(0).shuffle(documents)
    text = "\n\n".join(documents).encode("utf-8")
    return [part.decode("utf-8", errors="ignore") for part in (text[:1_000_000], text[1_000_000:])]


def train_reference(text, as_lines):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True) if as_lines else [text], trainer)
    return tokenizer


def report(title, times, scale=None):
    for name, values in times.items():
        best = min(values)
        shown = f"{scale / best / 1e6:6.1f} MB/s" if scale else f"{best:6.3f} s"
        ratio = best / min(times["tokenizers"])
        spread = max(values) / best
        print(f"{title:9} {name:28} {shown}   {ratio:5.2f} × tokenizers  (worst/best {spread:.1f})")


def main():
    train_text, held_out = real_text()
    tokenizer = BPETokenizer.train(train_text, VOCAB_SIZE)
    reference = train_reference(train_text, as_lines=False)
    fast = tokenizer.to_tiktoken()

    # Interleaved rounds, so that a busy moment of the machine does not fall on one of them alone.
    training = {"ours": [], "tokenizers": [], "tokenizers, line by line": []}
    for _ in range(ROUNDS):
        training["ours"].append(seconds(lambda: BPETokenizer.train(train_text, VOCAB_SIZE)))
        training["tokenizers"].append(seconds(lambda: train_reference(train_text, False)))
        training["tokenizers, line by line"].append(
            seconds(lambda: train_reference(train_text, True))
        )
    report("training", training)

    encoding = {
        name: [] for name in ("ours, first pass", "ours, later passes", "tokenizers", "tiktoken")
    }
    for _ in range(ROUNDS):
        fresh = BPETokenizer(tokenizer.ranks)
        encoding["ours, first pass"].append(seconds(lambda t=fresh: t.encode(held_out)))
        encoding["ours, later passes"].append(seconds(lambda t=fresh: t.encode(held_out)))
        encoding["tokenizers"].append(seconds(lambda: reference.encode(held_out)))
        encoding["tiktoken"].append(seconds(lambda: fast.encode_ordinary(held_out)))
    report("encoding", encoding, scale=len(held_out.encode("utf-8")))

    ours, theirs = len(tokenizer.encode(held_out)), len(reference.encode(held_out).ids)
    print(
        f"tokens on held-out text: ours {ours:,}, tokenizers {theirs:,}, ratio {ours / theirs:.5f}"
    )


if __name__ == "__main__":
    main()
