"""Tokenizers saved and loaded, and taken to tiktoken and back."""

import json
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import tiktoken

from gptbook.tokenizer import END_OF_TEXT, BPETokenizer, load_tokenizer


@pytest.mark.parametrize(
    "pattern", [r"\w+|\W+", r"\pL+|\PL+", r"\p{script=Latin}+|(?s:.)", r"\d|[^\d]+"]
)
def test_any_class_of_characters_is_handed_over(pattern):
    tokenizer = BPETokenizer.train("the hen and the 12 hens " * 9, 262, pattern=pattern)
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    ids = tokenizer.encode(everything)
    assert ids == tokenizer.to_tiktoken().encode_ordinary(everything)


def test_there_and_back(tokenizer, fast, texts):
    back = BPETokenizer.from_tiktoken(fast)
    text = texts[1][:20_000] + "x²½٣ ünï 日本 \ua7ce \U00033479"
    assert back.encode(text) == tokenizer.encode(text) == back.to_tiktoken().encode_ordinary(text)


def test_a_special_token_that_begins_another_is_not_handed_over():
    with pytest.raises(ValueError, match=r"'<s>' begins '<s>s'"):
        BPETokenizer.train("", 258, ["<s>", "<s>s"]).to_tiktoken()


# -- files


def test_save_and_load(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]
    loaded = load_tokenizer(path)
    assert list(loaded.ranks.items()) == list(tokenizer.ranks.items())
    assert loaded.special_tokens == tokenizer.special_tokens
    assert loaded.pattern == tokenizer.pattern


def test_a_truncated_or_altered_file_is_refused_by_name(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    whole = path.read_text()
    for size in (0, 1, 1000, len(whole) - 2, len(whole) - 1):
        path.write_text(whole[:size])
        with pytest.raises(ValueError, match=r"tokenizer\.json"):
            BPETokenizer.load(path)
    # One character changed somewhere: never a silently different tokenizer.
    rng = random.Random(0)
    for _ in range(200):
        i = rng.randrange(len(whole))
        changed = whole[:i] + rng.choice('Aa0+/" {') + whole[i + 1 :]
        path.write_text(changed)
        if json_or_none(changed) != json.loads(whole):
            with pytest.raises(ValueError, match=r"tokenizer\.json"):
                BPETokenizer.load(path)


def json_or_none(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


@pytest.mark.parametrize("content", ["[]", "{}", "3", '{"format": "other"}', "\ufeff{}", "no json"])
def test_a_foreign_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.json"):
        load_tokenizer(path)


def test_a_failed_save_leaves_the_old_file(tokenizer, tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        BPETokenizer.train("x", 256).save(path)
    assert path.read_bytes() == before


def test_many_may_save_at_once(tmp_path):
    path = tmp_path / "tokenizer.json"
    (tmp_path / "tokenizer.json.part").write_text("the reader's own")
    tokenizer = BPETokenizer.train("x", 256)
    tokenizer.save(path)
    with ThreadPoolExecutor(4) as pool:
        saves = [pool.submit(tokenizer.save, path) for _ in range(100)]
        loads = [pool.submit(BPETokenizer.load, path) for _ in range(100)]
    assert all(future.exception() is None for future in saves + loads)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["tokenizer.json", "tokenizer.json.part"]


# -- tiktoken's own tokenizers


def test_gpt2_comes_from_tiktoken(tokenizer, monkeypatch):
    """Without a network, an encoding of tiktoken's making stands in for GPT-2's."""
    order = [
        *range(33, 127),
        *range(33),
        *range(127, 256),
    ]  # GPT-2's table does not start with byte 0
    ranks = {bytes([byte]): id for id, byte in enumerate(order)} | {
        b"he": 256,
        b" t": 257,
        b" the": 258,
    }
    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
    encoding = tiktoken.Encoding(
        "gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: 259}
    )
    monkeypatch.setattr("tiktoken.get_encoding", lambda name: {"gpt2": encoding}[name])
    gpt2 = load_tokenizer("gpt2")
    for text in ["the hen \n\n", "there  is\n", f"a{END_OF_TEXT} \n ", "12 'll"]:
        ids = gpt2.encode(text, allowed_special="all")
        assert ids == encoding.encode(text, allowed_special="all")
        assert gpt2.decode(ids) == text
    assert gpt2.eos_id == 259


def test_gpt2_without_a_network_says_so(monkeypatch):
    def refuse(name):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("tiktoken.get_encoding", refuse)
    with pytest.raises(OSError, match="could not be downloaded: no route to host"):
        load_tokenizer("gpt2")
