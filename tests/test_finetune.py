"""Finetuning on one's own instructions by a command, and what transformers and peft make of it."""

import json
import subprocess
import sys

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from gptbook.adapters import load_adapters
from gptbook.chats import prompt_of
from gptbook.finetune import RATES, encode_entry, main, split_entries
from gptbook.generate import generate
from gptbook.gpt2 import load_gpt2, save_gpt2
from gptbook.instructions import respond
from gptbook.model import GPT, GPTConfig
from gptbook.tokenizer import load_tokenizer

ANIMALS = ["hen", "cow", "pig", "ox", "duck", "goat", "horse", "sheep", "dog", "cat"]
COLOURS = {"Ada": "red", "Ben": "blue", "Cy": "green", "Dot": "pink", "Eve": "grey"}
ENTRIES = [
    {
        "instruction": f"What colour is the {animal} of {owner}?",
        "output": f"The {animal} of {owner} is {colour}.",
    }
    for animal in ANIMALS
    for owner, colour in COLOURS.items()
]  # fifty, as a practitioner may bring
QUICK = ["--device", "cpu", "--epochs", "2"]


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("entries") / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, ENTRIES)))
    return path


@pytest.fixture(scope="module", params=list(RATES))
def made(request, mine, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / request.param
    epochs = ["--epochs", "6", "--device", "cpu", "--method", request.param]
    main([str(mine), "--out", str(out), *epochs])
    return out


def test_the_held_out_entries_are_learned(made):
    summary = json.loads((made / "summary.json").read_text())
    assert (summary["training"], summary["validation"]) == (45, 5)
    assert summary["loss_before"] > 4
    assert summary["loss_after"] < 0.5
    right = sum(answer["after"] == answer["wanted"] for answer in summary["answers"])
    wrong = sum(answer["before"] == answer["wanted"] for answer in summary["answers"])
    assert (len(summary["answers"]), wrong) == (5, 0)
    assert right >= 3
    assert {answer["prompt"].strip() for answer in summary["answers"]} <= {
        entry["instruction"] for entry in ENTRIES
    }


def test_transformers_answer_alike(made):
    """The folder alone: model, tokenizer and chat template."""
    ours = respond(load_gpt2(made), load_tokenizer(made), ENTRIES[:4])
    write = pipeline("text-generation", str(made), device="cpu")
    for entry, answer in zip(ENTRIES, ours, strict=False):
        chat = [{"role": "user", "content": entry["instruction"]}]
        [theirs] = write(chat, max_new_tokens=60, do_sample=False)
        assert theirs["generated_text"][-1]["content"].strip() == answer


def test_peft_finds_the_base_of_the_adapter_and_gives_the_same_logits(made):
    if not (made / "adapter").exists():
        assert made.name == "full"
        return
    ids = torch.tensor([load_tokenizer(made).encode("What colour is the hen of Ada?")])
    theirs = AutoPeftModelForCausalLM.from_pretrained(made / "adapter").eval()
    whole = AutoModelForCausalLM.from_pretrained(made).eval()
    ours = load_adapters(load_gpt2("book"), made / "adapter").eval()
    with torch.no_grad():
        for logits in (theirs(ids).logits, whole(ids).logits):
            torch.testing.assert_close(ours(ids), logits, rtol=1e-3, atol=1e-3)


def test_the_chat_template_gives_our_ids(made):
    tokenizer, theirs = load_tokenizer(made), AutoTokenizer.from_pretrained(made)
    chat = [
        {"role": "user", "content": " Who lays eggs? "},
        {"role": "assistant", "content": "The hen.\n"},
        {"role": "user", "content": "And who <|endoftext|> barks?"[:8]},
        {"role": "assistant", "content": "The dog."},
    ]
    for system in (None, " You are a farmer. "):
        example = encode_entry({"messages": chat, "system": system}, tokenizer)
        said = [{"role": "system", "content": system}] if system else []
        told = {"tokenize": True, "return_dict": False}
        assert theirs.apply_chat_template(said + chat, **told) == example.ids
        prompt = theirs.apply_chat_template(said + chat[:-1], add_generation_prompt=True, **told)
        assert prompt == prompt_of(example)


@pytest.mark.slow
def test_a_killed_run_goes_on(mine, tmp_path):
    arguments = [str(mine), "--out", str(tmp_path / "out"), *QUICK]
    kill = "import os, gptbook.early_stopping as e; old = e.EarlyStopping.__call__\n"
    kill += "def call(self, done): return os._exit(9) if done == 9 else old(self, done)\n"
    kill += "e.EarlyStopping.__call__ = call\nfrom gptbook.finetune import main; main()"
    assert subprocess.run([sys.executable, "-c", kill, *arguments], check=False).returncode == 9
    command = [sys.executable, "-m", "gptbook.finetune"]
    again = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True)
    assert "6/12" in again.stdout
    whole = [*arguments[:2], str(tmp_path / "whole"), *QUICK]
    subprocess.run([*command, *whole], check=True, capture_output=True)
    found, wanted = (load_gpt2(tmp_path / name) for name in ("out", "whole"))
    for ours, theirs in zip(found.parameters(), wanted.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_run_with_other_options_does_not_go_on_silently(mine, tmp_path, monkeypatch):
    arguments = [str(mine), "--out", str(tmp_path), *QUICK]
    monkeypatch.setattr("gptbook.early_stopping.EarlyStopping.__call__", stop_at_seven)
    with pytest.raises(SystemExit, match="broken off; the same command goes on"):
        main(arguments)
    with pytest.raises(SystemExit, match=r"learning|'lr'"):
        main([*arguments, "--lr", "1e-4"])
    with pytest.raises(SystemExit, match="does not hold the best weights"):
        main([*arguments, "--method", "full"])


def stop_at_seven(self, done):
    if done == 7:
        raise KeyboardInterrupt


def test_a_base_of_ones_own(mine, tmp_path):
    """GPT-2's tokenizer is larger here than the tokens it has; the base comes from a folder."""
    base, tokenizer = tmp_path / "base", load_tokenizer("book")
    torch.manual_seed(0)
    rows = tokenizer.vocab_size + 40
    save_gpt2(GPT(GPTConfig(rows, 96, 32, 1, 2)), base, tokenizer=tokenizer)
    main([str(mine), "--base", str(base), "--out", str(tmp_path / "out"), *QUICK])
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["lr"] == RATES["lora"]["other"]
    config = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)
    assert load_gpt2(tmp_path / "out").config.vocab_size == rows


def test_a_base_without_a_tokenizer_says_what_is_missing(mine, tmp_path):
    save_gpt2(GPT(GPTConfig(300, 32, 16, 1, 2)), tmp_path / "base")
    with pytest.raises(SystemExit, match="has no tokenizer"):
        main([str(mine), "--base", str(tmp_path / "base"), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="nowhere"):
        main([str(mine), "--base", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])


CHAT = {"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes."}]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON"),
        ("[]", "an empty one"),
        ("[1, 2", "is not JSON"),
        ("hens", "is not JSON"),
        (json.dumps(ENTRIES[:1]), "two different entries"),
        (json.dumps(ENTRIES[:1] * 9), "two different entries"),
        (json.dumps([*ENTRIES, {"instruction": "a", "output": ""}]), r"entry 50: .*empty"),
        (json.dumps([{"prompt": "a", "completion": "b"}] * 2), "no 'instruction'"),
        ('{"instruction": "a", "output": "b"}\n{"instruction": ', "line 2, is not JSON"),
        (json.dumps([{"messages": CHAT["messages"][::-1]}]), "must take turns"),
    ],
)
def test_bad_files_are_named(tmp_path, content, said):
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(SystemExit, match=said) as error:
        main([str(path), "--out", str(tmp_path / "out"), *QUICK])
    assert "two different" in said or str(path) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_bad_entries_can_be_left_out_and_long_ones_are_counted(tmp_path, capsys):
    path = tmp_path / "mine.json"
    long = {"instruction": "hens and " * 300, "output": "Yes."}
    cut = {"instruction": "Say yes.", "output": "yes and " * 300}
    path.write_text(json.dumps([*ENTRIES[:6], {"instruction": "a"}, long, cut]))
    main([str(path), "--out", str(tmp_path / "out"), "--skip-bad", "--seed", "3", *QUICK])
    shown = capsys.readouterr().out
    assert "1 entries left out" in shown
    assert "are cut to 256 tokens" in shown
    assert "1 of them have no answer left" in shown


def test_chats_are_learned_as_well(tmp_path):
    path = tmp_path / "chats.json"
    turns = [[e, f] for e, f in zip(ENTRIES[:12], ENTRIES[12:24], strict=True)]
    chats = []
    for pair in turns:
        messages = [{"role": "system", "content": "Answer."}]
        for entry in pair:
            messages.append({"role": "user", "content": entry["instruction"]})
            messages.append({"role": "assistant", "content": entry["output"]})
        chats.append({"messages": messages})
    path.write_text(json.dumps(chats))
    main([str(path), "--out", str(tmp_path / "out"), "--epochs", "4", "--device", "cpu"])
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["loss_after"] < summary["loss_before"] - 2
    assert summary["answers"][0]["wanted"] in {pair[1]["output"] for pair in turns}


def test_no_entry_is_on_both_sides():
    training, validation = split_entries([*ENTRIES, *ENTRIES], 0.1, seed=0)
    texts = [entry["instruction"] for entry in training + validation]
    assert len(texts) == len(set(texts)) == 50
    assert (len(training), len(validation)) == (45, 5)
    assert [len(part) for part in split_entries(ENTRIES[:2], 0.1, 0)] == [1, 1]


def test_the_answers_are_those_of_generate(made):
    """The summary shows what the saved model writes, not what a model in training wrote."""
    summary = json.loads((made / "summary.json").read_text())
    model, tokenizer = load_gpt2(made), load_tokenizer(made)
    for answer in summary["answers"]:
        entry = {"instruction": answer["prompt"].strip(), "output": answer["wanted"]}
        prompt = prompt_of(encode_entry(entry, tokenizer))
        [text] = generate(model, [prompt], 60, eos_id=tokenizer.eos_id)
        written = tokenizer.decode(text[len(prompt) :]).removesuffix("<|endoftext|>")
        assert written.strip() == answer["after"]
