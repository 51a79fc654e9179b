"""Real text from the reader's own machine, and the way from text to batches; chapter 2."""

import ast
import importlib
import random
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gptbook.tokenizer import BPETokenizer, refuse_bad_text

IGNORE_INDEX = -100  # a target with this id does not count in the loss
ENOUGH_BYTES = 1_000_000  # with less documentation than this, installed packages add theirs


def read_docstrings(folder: str | Path) -> Iterator[str]:
    """Yield the docstrings in the Python files below `folder`, by file name, without tests."""
    skip = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idlelib", "lib2to3"}
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for path in sorted(Path(folder).rglob("*.py")):
        if skip.isdisjoint(path.relative_to(folder).parts):
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError, OSError):
                continue  # templates and other files that only look like Python
            for node in ast.walk(tree):
                if isinstance(node, documented) and (docstring := ast.get_docstring(node)):
                    yield docstring


@lru_cache
def python_docs() -> tuple[str, ...]:
    """Return the documentation that ships with Python, about 2 MB, as a tuple of distinct texts.

    They are the reference topics behind `help()` and the docstrings of the standard library. Some
    distributions strip these; then a message says so, and the docstrings of NumPy, and if need be
    of PyTorch, take their place. Texts of fewer than 100 characters, and lone surrogates, are left
    out.
    """
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        topics = {}
    texts = [topics[name] for name in sorted(topics)]
    texts += read_docstrings(sysconfig.get_path("stdlib"))
    for package in ("numpy", "torch"):
        if (size := sum(map(len, texts))) < ENOUGH_BYTES:
            print(f"Only {size:,} bytes of documentation came with Python; adding {package}'s.")
            texts += read_docstrings(Path(str(importlib.import_module(package).__file__)).parent)
    texts = [text.strip().encode("utf-8", errors="ignore").decode("utf-8") for text in texts]
    return tuple(dict.fromkeys(text for text in texts if len(text) >= 100))


def refuse_loose_texts(documents: Iterable[str]) -> None:
    """Raise TypeError for a single str, whose letters are no documents, and for a set."""
    if isinstance(documents, (str, bytes, set, frozenset)):
        kind = type(documents).__name__
        raise TypeError(f"documents must be a list of texts, not a {kind}; wrap or sort it")


def split_documents(
    documents: Iterable[str], validation_fraction: float = 0.1, seed: int = 0
) -> tuple[list[str], list[str]]:
    """Shuffle distinct `documents` and return (training, validation) lists; none stands in both.

    >>> split_documents(["a", "b", "c", "d"], validation_fraction=0.25, seed=1)
    (['d', 'a', 'c'], ['b'])
    """
    refuse_loose_texts(documents)
    if not 0 <= validation_fraction < 1:
        raise ValueError(
            f"validation_fraction={validation_fraction} must be at least 0 and below 1"
        )
    documents = list(dict.fromkeys(documents))
    random.Random(seed).shuffle(documents)
    cut = len(documents) - round(len(documents) * validation_fraction)
    return documents[:cut], documents[cut:]


def encode_documents(documents: Iterable[str], tokenizer: BPETokenizer) -> Tensor:
    """Return the ids of all documents, each followed by `<|endoftext|>`, as one tensor (N,)."""
    refuse_loose_texts(documents)
    if tokenizer.eos_id is None:
        raise ValueError(
            "the tokenizer has no <|endoftext|> to put between documents; train it with that token"
        )
    fast = tokenizer.to_tiktoken()
    ids: list[int] = []
    for document in documents:
        refuse_bad_text(document)
        # tiktoken's regular expressions overflow on a million spaces in a row; ours do not.
        long = len(document) > 500_000
        ids += tokenizer.encode(document) if long else fast.encode_ordinary(document)
        ids.append(tokenizer.eos_id)
    return torch.tensor(ids, dtype=torch.long)


class WindowDataset(Dataset):
    """Windows of `context_length` ids and their targets, the same window one token later.

    `ids` is a tensor (N,); the next window starts `stride` ids on (default: `context_length`, no
    overlap). Item i is (inputs, targets), each (context_length,). Raises ValueError if `ids` does
    not fill one window.

    >>> inputs, targets = WindowDataset(torch.arange(10), context_length=4)[1]
    >>> inputs.tolist(), targets.tolist()
    ([4, 5, 6, 7], [5, 6, 7, 8])
    """

    def __init__(
        self, ids: Tensor | Sequence[int], context_length: int, stride: int | None = None
    ) -> None:
        if context_length < 1 or (stride is not None and stride < 1):
            raise ValueError(
                f"context_length={context_length} and stride={stride} must be at least 1"
            )
        ids = torch.as_tensor(ids)
        if ids.dim() != 1:
            raise ValueError(f"ids must be one row of shape (N,), not {tuple(ids.shape)}")
        if len(ids) < context_length + 1:
            raise ValueError(
                f"{len(ids)} ids do not fill one window: {context_length} inputs and a last target "
                f"need {context_length + 1}; use more text or a shorter context"
            )
        self.windows = ids.unfold(
            0, context_length + 1, stride or context_length
        )  # (number, context_length + 1)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.windows[i, :-1], self.windows[i, 1:]


def make_loader(
    ids: Tensor | Sequence[int],
    context_length: int,
    batch_size: int,
    stride: int | None = None,
    shuffle: bool = False,
    seed: int = 0,
) -> DataLoader:
    """Return a DataLoader of (inputs, targets), each (B, T).

    With `shuffle`, the order is new in each epoch, and the same for the same `seed`.
    """
    dataset = WindowDataset(ids, context_length, stride)
    return DataLoader(dataset, batch_size, shuffle, generator=torch.Generator().manual_seed(seed))
