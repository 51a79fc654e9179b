"""Real text, its fallback, splits without a leak, windows and loaders."""

import sys

import pytest
import torch

import gptbook.data
from gptbook.data import (
    WindowDataset,
    encode_documents,
    make_loader,
    python_docs,
    read_docstrings,
    split_documents,
)
from gptbook.tokenizer import END_OF_TEXT, BPETokenizer


def test_python_docs_are_large_distinct_and_can_be_written():
    documents = python_docs()
    assert sum(len(document.encode("utf-8")) for document in documents) > 1_000_000
    assert len(set(documents)) == len(documents) > 1000
    assert min(map(len, documents)) >= 100
    assert any("lambda" in document for document in documents)


def test_python_docs_where_a_distribution_strips_them(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)  # importing it raises ImportError
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    documents = python_docs.__wrapped__()
    assert "Only 0 bytes of documentation came with Python" in capsys.readouterr().out
    assert sum(map(len, documents)) > 900_000
    assert any("ndarray" in document for document in documents)


def test_read_docstrings(tmp_path):
    (tmp_path / "a.py").write_text(
        '"""Module."""\nclass C:\n    """Class."""\n    def f(self):\n        """Method."""\n'
    )
    (tmp_path / "b.py").write_text("this is not Python")
    (tmp_path / "c.py").write_text('async def g():\n    """Async."""\n')
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "d.py").write_text('"""A test."""\n')
    assert list(read_docstrings(tmp_path)) == ["Module.", "Class.", "Method.", "Async."]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_split_documents(share):
    documents = [f"text {i % 90}" for i in range(100)]  # ten of them twice
    training, validation = split_documents(documents, share, seed=3)
    assert len(validation) == round(90 * share)
    assert sorted(training + validation) == sorted(set(documents))
    assert split_documents(documents, share, seed=3) == (training, validation)
    assert split_documents(documents, share, seed=4) != (training, validation)


def test_encode_documents():
    tokenizer = BPETokenizer.train("aab aab", 260, END_OF_TEXT)
    ids = encode_documents(["aab", f"b{END_OF_TEXT}"], tokenizer)
    wanted = [
        *tokenizer.encode("aab"),
        tokenizer.eos_id,
        *tokenizer.encode(f"b{END_OF_TEXT}"),
        tokenizer.eos_id,
    ]
    assert ids.tolist() == wanted
    assert ids.dtype == torch.long
    with pytest.raises(ValueError, match=r"no .*endoftext.* to put between documents"):
        encode_documents(["a"], BPETokenizer.train("a", 256))


def test_encode_documents_equals_encode_also_for_very_long_white_space():
    tokenizer = BPETokenizer.train("aab aab", 260, END_OF_TEXT)
    document = "aab" + " " * 1_000_000 + "x"
    assert encode_documents([document], tokenizer).tolist() == [
        *tokenizer.encode(document),
        tokenizer.eos_id,
    ]
    with pytest.raises(ValueError, match="lone surrogate"):
        encode_documents(["ok", "\ud83d"], tokenizer)


@pytest.mark.parametrize("documents", ["one text", b"bytes", {"a", "b"}])
def test_loose_texts_are_refused(documents):
    with pytest.raises(TypeError, match="must be a list of texts"):
        split_documents(documents)
    with pytest.raises(TypeError, match="must be a list of texts"):
        encode_documents(documents, BPETokenizer.train("", 257, END_OF_TEXT))


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.1, 10])
def test_a_share_is_a_share(share):
    with pytest.raises(ValueError, match=f"validation_fraction={share}"):
        split_documents(["a", "b"], share)


@pytest.mark.parametrize(
    ("size", "context", "stride"), [(5, 4, None), (100, 7, None), (100, 7, 3), (50, 5, 9)]
)
def test_windows(size, context, stride):
    ids = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:size]
    dataset = WindowDataset(ids, context, stride)
    starts = range(0, size - context, stride or context)
    assert len(dataset) == len(starts)
    for start, (inputs, targets) in zip(starts, dataset, strict=True):
        assert torch.equal(inputs, ids[start : start + context])
        assert torch.equal(targets, ids[start + 1 : start + 1 + context])


@pytest.mark.parametrize("size", [0, 1, 4])
def test_a_text_shorter_than_a_window_is_refused(size):
    with pytest.raises(ValueError, match=f"{size} ids do not fill one window.*need 5"):
        WindowDataset(torch.arange(size), 4)


def test_windows_take_a_list_but_no_table():
    assert WindowDataset([1, 2, 3], 2)[0][1].tolist() == [2, 3]
    with pytest.raises(ValueError, match=r"shape \(N,\), not \(4, 5\)"):
        WindowDataset(torch.zeros(4, 5), 2)


@pytest.mark.parametrize(("context", "stride"), [(0, None), (4, 0), (4, -1), (-3, 2)])
def test_bad_windows_are_refused(context, stride):
    with pytest.raises(ValueError, match="must be at least 1"):
        WindowDataset(torch.arange(20), context, stride)


def test_loader_order():
    ids = torch.arange(1000)

    def epochs(seed):
        loader = make_loader(ids, 8, 4, shuffle=True, seed=seed)
        return [torch.cat([inputs[:, 0] for inputs, _ in loader]).tolist() for _ in range(2)]

    first, second = epochs(0)
    assert first != second  # shuffled anew each epoch
    assert sorted(first) == sorted(second) == list(range(0, 992, 8))  # each window once
    assert epochs(0) == [first, second]
    assert epochs(1)[0] != first
    plain = torch.cat([inputs for inputs, _ in make_loader(ids, 8, 4)])
    assert torch.equal(plain.flatten(), torch.arange(992))


def test_documentation_is_read_once():
    assert gptbook.data.python_docs() is gptbook.data.python_docs()
