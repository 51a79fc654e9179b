"""Trains the book's tokenizer: `python -m gptbook.experiments.book_tokenizer` writes assets/."""

from gptbook.files import ASSETS
from gptbook.tokenizer import END_OF_TEXT, BPETokenizer
from gptbook.world import World

VOCAB_SIZE = 2048
NUM_DOCUMENTS = 60_000
# Unlike GPT-2's pattern, this one sets every digit and every capital after a capital apart, so that
# numbers are spelled digit by digit and CAPITALS letter by letter, and no space sticks to a digit.
PATTERN = (
    r"'(?:[sdmt]|ll|ve|re)| ?\p{Lu}?[\p{Ll}\p{Lt}\p{Lm}\p{Lo}\p{M}]+| ?\p{Lu}|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
)


def train_tokenizer(vocab_size: int = VOCAB_SIZE) -> BPETokenizer:
    """Return a tokenizer trained on documents of the training split."""
    text = "\n".join(document.text for document in World().documents(NUM_DOCUMENTS))
    return BPETokenizer.train(text, vocab_size, [END_OF_TEXT], PATTERN)


if __name__ == "__main__":
    train_tokenizer().save(ASSETS / "tokenizer.json")
