"""The byte-level BPE tokenizer, its files, and the way to and from tiktoken; chapter 2."""

import base64
import sys
import warnings
from functools import lru_cache
from itertools import chain, permutations

import regex
import tiktoken

from gptbook.bpe import GPT2_PATTERN, count_words, learn_merges, merge_word, refuse_lost_text
from gptbook.files import ASSETS, read_checked, write_checked

END_OF_TEXT = "<|endoftext|>"
FILE_FORMAT = "gptbook-bpe-1"


class BPETokenizer:
    """A byte-level BPE tokenizer: ranks (bytes -> id), special tokens (text -> id), word pattern.

    The ranks must include all 256 single bytes, so that any text can be encoded.
    """

    def __init__(self, ranks, special_tokens=None, pattern=GPT2_PATTERN):
        self.ranks, self.pattern = dict(ranks), pattern
        self.special_tokens = dict(special_tokens or {})
        self.token_bytes = {id: token for token, id in self.ranks.items()}
        self.token_bytes |= {id: text.encode("utf-8") for text, id in self.special_tokens.items()}
        self.vocab_size = len(self.ranks) + len(self.special_tokens)
        ids = [*sorted(self.ranks.values()), *sorted(self.special_tokens.values())]
        if ids != list(range(self.vocab_size)):
            raise ValueError(
                f"{self.vocab_size} tokens need the ids 0 … {self.vocab_size - 1}, each used once, "
                "and special tokens the last of them"
            )
        if "" in self.special_tokens:
            raise ValueError("a special token cannot be the empty string")
        missing = [byte for byte in range(256) if bytes([byte]) not in self.ranks]
        if missing:
            raise ValueError(f"ranks must hold all 256 single bytes; missing: {missing}")
        self._find_words = regex.compile(pattern).findall
        self._word_ids = WordCache(self.ranks)

    @classmethod
    def train(cls, text, vocab_size, special_tokens=(), pattern=GPT2_PATTERN):
        """Learn `vocab_size` tokens from `text`: 256 bytes, then merges, then `special_tokens`.

        Raises ValueError if `vocab_size` is below 256 + the number of special tokens; warns if the
        text is too small for it.
        """
        names = [special_tokens] if isinstance(special_tokens, str) else special_tokens
        special_tokens = list(dict.fromkeys(sorted(names) if isinstance(names, set) else names))
        num_merges = vocab_size - 256 - len(special_tokens)
        if num_merges < 0:
            raise ValueError(
                f"vocab_size={vocab_size} leaves no room for 256 bytes and {len(special_tokens)} "
                f"special tokens; ask for at least {256 + len(special_tokens)}"
            )
        refuse_bad_text(text)
        tokens = [bytes([byte]) for byte in range(256)]
        for left, right in learn_merges(count_words(text, pattern), num_merges):
            tokens.append(tokens[left] + tokens[right])
        if len(tokens) < 256 + num_merges:
            warnings.warn(
                f"asked for {vocab_size} tokens, but this text has only "
                f"{len(tokens) + len(special_tokens)} to learn",
                stacklevel=2,
            )
        ranks = {token: id for id, token in enumerate(tokens)}
        return cls(ranks, {text: len(tokens) + i for i, text in enumerate(special_tokens)}, pattern)

    def encode(self, text, allowed_special=()):
        """Return the ids of `text`; special tokens in it are plain text unless they are allowed.

        `allowed_special` is a set of special tokens, or "all". Raises TypeError for anything but a
        str, ValueError for a lone surrogate or an unknown special token.
        """
        refuse_bad_text(text)
        if not (allowed := self._allowed(allowed_special)):
            return self._encode_ordinary(text)
        ids = []
        # Longest first: a special token may begin with another one. Odd pieces are special tokens.
        names = "|".join(map(regex.escape, sorted(allowed, key=len, reverse=True)))
        pieces = regex.split(f"({names})", text)
        for i, piece in enumerate(pieces):
            ids += [self.special_tokens[piece]] if i % 2 else self._encode_ordinary(piece)
        return ids

    def _encode_ordinary(self, text):
        words = self._find_words(text)
        refuse_lost_text(words, text, self.pattern)
        return list(chain.from_iterable(map(self._word_ids.__getitem__, words)))

    def _allowed(self, allowed_special):
        if allowed_special == "all":
            return set(self.special_tokens)
        allowed = {allowed_special} if isinstance(allowed_special, str) else set(allowed_special)
        if unknown := allowed - set(self.special_tokens):
            raise ValueError(
                f"unknown special tokens {sorted(unknown)}; there are {sorted(self.special_tokens)}"
            )
        return allowed

    def decode_bytes(self, ids):
        """Return the bytes of `ids`, a list, array or tensor; ValueError for an unknown id."""
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        try:
            return b"".join([self.token_bytes[id] for id in ids])
        except KeyError as error:
            raise ValueError(
                f"no token has the id {error}; ids run from 0 to {self.vocab_size - 1}"
            ) from None
        except TypeError:
            raise TypeError(f"decode one row of ids, for example ids[0], not {ids!r}") from None

    def decode(self, ids):
        """Return the text of `ids`; bytes that are not valid UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    @property
    def eos_id(self):
        """The id of `<|endoftext|>`, or None."""
        return self.special_tokens.get(END_OF_TEXT)

    def to_tiktoken(self, name="gptbook"):
        """Return a `tiktoken.Encoding` with the same ranks: the same ids, but faster.

        Raises ValueError where one special token begins another.
        """
        for short, long in permutations(self.special_tokens, 2):
            if long.startswith(short):
                raise ValueError(f"{short!r} begins {long!r}: tiktoken leaves open which one wins")
        return tiktoken.Encoding(
            name,
            pat_str=explicit_pattern(self.pattern),
            mergeable_ranks=self.ranks,
            special_tokens=self.special_tokens,
        )

    @classmethod
    def from_tiktoken(cls, encoding):
        """Return the tokenizer with the ranks, special tokens and pattern of an `Encoding`."""
        return cls(encoding._mergeable_ranks, encoding._special_tokens, encoding._pat_str)

    def save(self, path):
        """Write the tokenizer as JSON with a digest; the file appears whole or not at all."""
        tokens = [base64.b64encode(self.token_bytes[id]).decode() for id in range(len(self.ranks))]
        content = {"pattern": self.pattern, "special_tokens": self.special_tokens, "tokens": tokens}
        write_checked(path, FILE_FORMAT, content)

    @classmethod
    def load(cls, path):
        """Read a file that `save` wrote; ValueError if it is truncated, altered or foreign."""
        content = read_checked(path, FILE_FORMAT)
        ranks = {base64.b64decode(token): id for id, token in enumerate(content["tokens"])}
        return cls(ranks, content["special_tokens"], content["pattern"])


class WordCache(dict):
    """word -> its ids, worked out at the first look-up; emptied when `limit` words are in it."""

    def __init__(self, ranks, limit=2**17):
        self.ranks, self.limit = ranks, limit

    def __missing__(self, word):
        if len(self) >= self.limit:
            self.clear()
        ids = merge_word(word.encode("utf-8"), self.ranks)
        if len(word) <= 100:  # long words hardly ever come again, and fill the memory
            self[word] = ids
        return ids


def load_tokenizer(source):
    """Return the book's tokenizer for "book", GPT-2's for "gpt2", or the one saved at a path.

    The book's comes with the book; GPT-2's is downloaded by tiktoken.
    """
    if source != "gpt2":
        return BPETokenizer.load(ASSETS / "tokenizer.json" if source == "book" else source)
    try:
        return BPETokenizer.from_tiktoken(tiktoken.get_encoding("gpt2"))
    except OSError as error:  # what requests raises for every kind of failed connection
        raise OSError(f"GPT-2's vocabulary could not be downloaded: {error}") from error


def refuse_bad_text(text):
    """Raise TypeError for anything but a str, ValueError for a str with a lone surrogate."""
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, not {type(text).__name__}; decode bytes first")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text holds the lone surrogate {text[error.start]!r} at index {error.start}, which "
            "UTF-8 cannot write; mend it with "
            "text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')"
        ) from None


@lru_cache
def explicit_pattern(pattern):
    r"""Spell out \p{L}, \w and their like as ranges of characters.

    tiktoken and `regex` follow different editions of Unicode and would not cut alike.
    """
    characters = "".join(map(chr, chain(range(0xD800), range(0xE000, sys.maxunicode + 1))))
    kind = r"\\[pP](?:\{[^}]*\}|\w)|\\[wWdD]"

    def ranges(match):
        runs = regex.findall(match[0] + "+", characters)
        return "".join(rf"\U{ord(run[0]):08x}-\U{ord(run[-1]):08x}" for run in runs)

    def spell_out(match):  # a class in brackets, or a single \p{L} that becomes one
        inside = match[0].startswith("[")
        return regex.sub(kind, ranges, match[0]) if inside else f"[{ranges(match)}]"

    return regex.sub(rf"\[(?:\\.|[^\]\\])*\]|{kind}", spell_out, pattern)
