"""Tokenizers of others are read and give the same ids; ours are read by others."""

import base64
import json
import random

import pytest
import tiktoken
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from gptbook.bpe import GPT2_PATTERN
from gptbook.data import python_docs
from gptbook.tokenizer import END_OF_TEXT, BPETokenizer, load_tokenizer
from gptbook.tokenizer_formats import CHARACTER, merges_of, to_bytes, to_characters

TEXT = "\n\n".join(python_docs()[:150])
# Words are cut as GPT-4 cuts them: digits by threes, and one sign before a word goes with it.
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def odd_strings(number=2000):
    """Strings of letters, marks, digits, white space, emoji and specials, long and short."""
    rng = random.Random(0)
    pieces = [
        "the ", "hen's", " 12", "345", "\n\n", "   ", "\t", "é", "e\u0301", "日本",
        "👍🏽", "\u200b", END_OF_TEXT, "def f(x):\n", "\r\n", "ß", "Ⅷ", "\u00a0", "\x00", "ǅ",
        "'LL", "...",
    ]  # fmt: skip
    strings = ["", " ", *pieces]
    while len(strings) < number:
        strings.append("".join(rng.choice(pieces) for _ in range(rng.randint(1, 12))))
    return strings


ODD = odd_strings()


@pytest.fixture(scope="module", params=["ByteLevel", "Split", "first"])
def theirs(request, tmp_path_factory):
    """(a tokenizer of the library tokenizers, its folder); "first": special tokens are 0 and 1."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if request.param == "Split":
        cut = pre_tokenizers.Split(Regex(CL100K), "isolated")
        bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, bytes_only])
    tokenizer.decoder = decoders.ByteLevel()
    first = [END_OF_TEXT, "<|user|>"] if request.param == "first" else []
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1200, initial_alphabet=alphabet, special_tokens=first, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    if not first:
        tokenizer.add_special_tokens([END_OF_TEXT])
    folder = tmp_path_factory.mktemp("theirs")
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer, folder


def test_a_tokenizer_json_gives_the_same_ids(theirs):
    tokenizer, folder = theirs
    for ours in (load_tokenizer(folder), load_tokenizer(folder / "tokenizer.json")):
        for text in ODD:
            assert ours.encode(text, "all") == tokenizer.encode(text).ids
    assert ours.decode(ours.encode(TEXT)) == TEXT
    assert ours.encode(TEXT) == tokenizer.encode(TEXT).ids


@pytest.mark.parametrize("names", [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")])
def test_two_files_give_the_same_ids(theirs, tmp_path, names):
    tokenizer, _ = theirs
    told = json.loads(tokenizer.to_str())
    if told["pre_tokenizer"]["type"] == "Sequence":
        return  # the two files say nothing of a pattern; GPT-2's is meant
    vocab = told["model"]["vocab"] | {t["content"]: t["id"] for t in told["added_tokens"]}
    two = [tmp_path / name for name in names]
    two[0].write_text(json.dumps(vocab), encoding="utf-8-sig")
    merges = "\r\n".join(map(" ".join, told["model"]["merges"]))
    two[1].write_text(f"#version: 0.2\r\n{merges}\r\n", encoding="utf-8", newline="")
    for ours in (load_tokenizer(tmp_path), BPETokenizer.from_gpt2_files(*two)):
        for text in ODD:
            assert ours.encode(text, "all") == tokenizer.encode(text).ids
        assert ours.special_tokens.keys() == {t["content"] for t in told["added_tokens"]}


@pytest.fixture(scope="module")
def gapped():
    """An encoding of tiktoken's in which some ids stand for no token, as in cl100k."""
    trained = BPETokenizer.train(TEXT, 900, pattern=CL100K)
    ranks = {token: id + 7 * (id >= 700) for token, id in trained.ranks.items()}
    special = {END_OF_TEXT: 1000, "<|fim|>": 1004}
    return tiktoken.Encoding(
        "gapped", pat_str=CL100K, mergeable_ranks=ranks, special_tokens=special
    )


def test_ids_with_gaps_load_encode_and_are_saved(gapped, tmp_path):
    path = tmp_path / "own.tiktoken"
    lines = [base64.b64encode(t) + b" %d\n" % r for t, r in gapped._mergeable_ranks.items()]
    path.write_bytes(b"".join(lines))
    ours = BPETokenizer.from_tiktoken_file(path, CL100K, gapped._special_tokens)
    ours.save(tmp_path / "ours.json")
    for each in (ours, load_tokenizer(tmp_path / "ours.json"), BPETokenizer.from_tiktoken(gapped)):
        assert each.vocab_size == 1005
        for text in ODD:
            assert each.encode(text) == gapped.encode_ordinary(text)
            assert each.encode(text, "all") == gapped.encode(text, allowed_special="all")
    assert load_tokenizer(path).pattern == GPT2_PATTERN
    with pytest.raises(ValueError, match="no token has the id 703"):
        ours.decode([703])
    with pytest.raises(ValueError, match="some ids stand for no token"):
        ours.save_for_transformers(tmp_path / "hf")


@pytest.fixture(scope="module", params=["GPT-2", "GPT-4"])
def ours(request):
    """Two of our own, with special tokens of which one is in hardly any text."""
    pattern = GPT2_PATTERN if request.param == "GPT-2" else CL100K
    return BPETokenizer.train(TEXT, 1100, [END_OF_TEXT, "<|user|>"], pattern)


def test_transformers_give_the_same_ids(ours, tmp_path):
    ours.save_for_transformers(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert (theirs.eos_token_id, theirs.pad_token_id, len(theirs)) == (ours.eos_id,) * 2 + (1100,)
    for text in [*ODD, TEXT[:50_000], "a<|user|>b"]:
        ids = ours.encode(text, "all")
        assert theirs(text)["input_ids"] == ids
        assert theirs.decode(ids) == text
    again = load_tokenizer(tmp_path)
    assert (again.ranks, again.special_tokens) == (ours.ranks, ours.special_tokens)


def test_all_characters_are_cut_alike(ours, tmp_path):
    ours.save_for_transformers(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    everything = [chr(i) for i in [*range(0xD800), *range(0xE000, 0x110000)]]
    for start in range(0, len(everything), 50_000):
        text = " a".join(everything[start : start + 50_000])
        assert theirs(text)["input_ids"] == ours.encode(text)


def test_special_tokens_in_training_text_are_cut_out():
    ours = BPETokenizer.train(f"{'ab' * 40}{END_OF_TEXT}" * 50, 262, [END_OF_TEXT])
    assert not any(b"|" in t or b"<" in t or b"end" in t for t in ours.ranks if len(t) > 1)


def test_characters_stand_for_bytes():
    assert sorted(CHARACTER) == list(range(256))
    alphabet = set(pre_tokenizers.ByteLevel.alphabet())
    assert {to_characters(bytes([byte])) for byte in range(256)} == alphabet
    assert to_bytes(to_characters(bytes(range(256)))) == bytes(range(256))
    assert to_characters(b" \n\x00") == "ĠĊĀ"


def test_merges_are_recovered(ours):
    for (left, right), token in zip(merges_of(ours.ranks), list(ours.ranks)[256:], strict=True):
        assert left + right == token
    with pytest.raises(ValueError, match="not made of two earlier ones"):
        merges_of({b"a": 0, b"b": 1, b"abab": 2})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": {"type": "WordPiece"}}, "WordPiece"),
        ({"model": {"type": "Unigram"}}, "Unigram"),
        ({"model": None}, "has no model"),
        ({"normalizer": {"type": "NFC"}}, "NFC"),
        ({"pre_tokenizer": None}, "cuts text by"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "Metaspace"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, "ByteLevel"),
        ({"added_tokens": []}, "no merge makes"),
    ],
)
def test_other_tokenizers_are_refused_by_name(tmp_path, change, said):
    BPETokenizer.train(TEXT, 400, [END_OF_TEXT]).save_for_transformers(tmp_path)
    path = tmp_path / "tokenizer.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    for name, value in change.items():
        told[name] = told[name] | value if name == "model" and value else value
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        BPETokenizer.from_tokenizer_json(path)


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "x.tiktoken"
    path.write_bytes(b"YQ== 0\nYg==\n")
    with pytest.raises(ValueError, match=r"x\.tiktoken, line 2"):
        load_tokenizer(path)
    vocab, merges = tmp_path / "vocab.json", tmp_path / "merges.txt"
    vocab.write_text(json.dumps({c: b for b, c in CHARACTER.items()} | {"ab": 256, "abc": 257}))
    for text, said in (("a b\na bc d", "makes no token"), ("a c", "makes no token")):
        merges.write_text(text)
        with pytest.raises(ValueError, match=said):
            load_tokenizer(tmp_path)
    merges.write_text("ab c\na b\n")
    with pytest.raises(ValueError, match="not that of their ids"):
        load_tokenizer(tmp_path)
    vocab.write_text("[1]")
    with pytest.raises(ValueError, match=r"vocab\.json must hold"):
        load_tokenizer(tmp_path)
