"""Transformers' folder format: what transformers itself writes is read, in one piece or several."""

import json

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gptbook.gpt2 import load_gpt2, save_gpt2
from gptbook.gpt2_format import config_of, read_config, read_weights, tensor_names
from gptbook.model import GPTConfig

CONFIG = GPTConfig(97, 24, 32, 2, 2)
IDS = torch.arange(24)[None]


@pytest.fixture
def folder(tmp_path):
    """A small model in several files, as transformers writes it."""
    torch.manual_seed(0)
    shape = {"vocab_size": 97, "n_positions": 24, "n_embd": 32, "n_layer": 2, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(**shape))
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    return tmp_path


def test_weights_in_several_files_are_those_of_transformers(folder):
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    reference = GPT2LMHeadModel.from_pretrained(folder).eval()
    with torch.no_grad():
        torch.testing.assert_close(load_gpt2(folder).eval()(IDS), reference(IDS).logits)


def test_one_file_is_preferred_to_an_index_left_behind(folder):
    model = load_gpt2(folder)
    with torch.no_grad():
        model.final_norm.bias += 1
    save_gpt2(model, folder)
    assert torch.equal(load_gpt2(folder).final_norm.bias, model.final_norm.bias)
    assert not (folder / "model.safetensors.index.json").exists()  # transformers reads it as well


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"x": "model-FIRST"}}']
)
def test_a_broken_index_is_named(folder, content):
    first = min(path.name for path in folder.glob("model-*.safetensors"))
    index = folder / "model.safetensors.index.json"
    index.write_text(content.replace("model-FIRST", first))
    with pytest.raises(ValueError, match=r"index\.json does not say where"):
        read_weights(folder / "model.safetensors")


def test_a_missing_piece_is_named(folder):
    max(folder.glob("model-*.safetensors")).unlink()
    with pytest.raises(FileNotFoundError, match="model-0"):
        load_gpt2(folder)


def test_a_config_with_a_byte_order_mark(tmp_path):
    told = config_of(CONFIG, torch.float32, eos_id=5)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(told), encoding="utf-8-sig")
    assert read_config(path, dropout=0.0) == CONFIG
    assert (told["eos_token_id"], told["dtype"]) == (5, "float32")


def test_names_are_those_of_transformers():
    reference = GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=32, n_head=2)).transformer
    assert {theirs for theirs, *_ in tensor_names(2)} == set(reference.state_dict())
