"""One's own texts, pretrained on by a command."""

import json
import subprocess
import sys

import pytest
import torch
from transformers import pipeline

from gptbook.data import python_docs
from gptbook.generate import generate
from gptbook.gpt2 import load_gpt2
from gptbook.pretrain import cut_text, main, read_texts
from gptbook.tokenizer import load_tokenizer

SMALL = ["--steps", "24", "--width", "32", "--layers", "1", "--heads", "2", "--context", "32"]
SMALL += ["--batch-size", "8", "--vocab-size", "400", "--device", "cpu", "--lr", "1e-2"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A folder with two texts, and files that are none."""
    folder = tmp_path_factory.mktemp("texts")
    documents = [text for text in python_docs() if len(text) < 5000][:60]
    (folder / "a.txt").write_text("\ufeff" + "\n\n".join(documents[:40]), encoding="utf-8")
    (folder / "deep").mkdir()
    (folder / "deep" / "b.md").write_text("\r\n\r\n".join(documents[40:]), encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG\xff")
    return folder


@pytest.fixture(scope="module")
def made(texts, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "model"
    main([str(texts), "--out", str(out), *SMALL])
    return out


def test_the_loss_falls_and_all_is_told(made, texts):
    summary = json.loads((made / "summary.json").read_text())
    assert summary["loss_after"] < summary["loss_before"] - 0.5
    assert summary["bits_per_byte"] < 6
    assert len(summary["continuations"]) == 3
    for text in summary["continuations"]:
        assert any(text["beginning"] in document for document in read_texts([texts]))
    assert not (made / "run").exists()


def test_transformers_write_the_same_text(made):
    model, tokenizer = load_gpt2(made), load_tokenizer(made)
    ids = tokenizer.encode("Return the")
    ours = tokenizer.decode(generate(model, [ids], 20)[0])
    write = pipeline("text-generation", str(made), device="cpu")
    [theirs] = write("Return the", max_new_tokens=20, do_sample=False)
    assert theirs["generated_text"] == ours


def test_held_out_documents_teach_nothing(texts, tmp_path, made):
    """The tokenizer knows training texts only; the same seed makes the same model."""
    main([str(texts), "--out", str(tmp_path / "again"), *SMALL])
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (made / name).read_bytes()


@pytest.mark.slow
def test_a_killed_run_goes_on(texts, tmp_path):
    command = [sys.executable, "-m", "gptbook.pretrain", str(texts), *SMALL, "--out"]
    kill = "import os, gptbook.early_stopping as e; old = e.EarlyStopping.__call__\n"
    kill += "def call(self, done): return os._exit(9) if done == 13 else old(self, done)\n"
    kill += "e.EarlyStopping.__call__ = call\nfrom gptbook.pretrain import main; main()"
    killed = subprocess.run(
        [sys.executable, "-c", kill, *command[3:], str(tmp_path / "out")], check=False
    )
    assert killed.returncode == 9
    assert (tmp_path / "out" / "run" / "checkpoint.safetensors").exists()
    for name in ("out", "whole"):
        run = [*command, str(tmp_path / name)]
        done = subprocess.run(run, check=True, capture_output=True, text=True)
        assert ("13/24" in done.stdout.split("step 14")[0]) or name == "whole"
    found, wanted = (load_gpt2(tmp_path / name) for name in ("out", "whole"))
    for ours, theirs in zip(found.parameters(), wanted.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_texts_are_cut_at_blank_lines():
    text = "\n\n".join(f"paragraph {i}" for i in range(10))
    parts = cut_text(text, 30)
    assert "\n\n".join(parts) == text
    assert all(len(part) >= 30 for part in parts[:-1])
    assert cut_text(" \n\n \n") == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"caf\xe9", "a.txt is not text in UTF-8"),
        (b" \n ", "no text in"),
        (b"only one document", "too few"),
        (b"a\n\n" * 3000, "too few"),  # all the same
    ],
)
def test_bad_texts_are_named(tmp_path, content, said):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(SystemExit, match=said):
        main([str(tmp_path / "a.txt"), "--out", str(tmp_path / "out"), *SMALL])


def test_a_text_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"nowhere\.txt"):
        main([str(tmp_path / "nowhere.txt"), "--out", str(tmp_path / "out")])


def test_too_little_text_for_a_window_says_what_would_do(texts, tmp_path):
    (tmp_path / "a.txt").write_text("\n\n".join(f"{i} " + "x" * 2000 for i in range(3)))
    more = [
        "--context",
        "4000",
        "--validation",
        "0.5",
        "--vocab-size",
        "600",
        "--steps",
        "1",
        "--width",
        "8",
    ]
    with pytest.raises(SystemExit, match="shorter context"):
        main([str(tmp_path / "a.txt"), "--out", str(tmp_path / "o"), *more, "--heads", "1"])
