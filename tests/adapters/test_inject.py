"""Adapters are put in, exchanged and taken out; what cannot be is refused."""

import json

import pytest
import torch
from transformers import GPT2LMHeadModel

from gptbook.adapters import (
    DoRALinear,
    LoRALinear,
    MoRALinear,
    adapters_of,
    add_adapters,
    attach_adapters,
    detach_adapters,
    drop_adapters,
    load_adapters,
    merge_adapters,
    save_adapters,
)
from gptbook.gpt2 import load_gpt2, save_gpt2
from gptbook.training import make_optimizer
from tests.adapters.helpers import IDS, adapted, kinds


@kinds
def test_dropped_adapters_leave_a_plain_model(folder, kind, tmp_path):
    model = adapted(folder, kind).eval()
    wanted = model(IDS)
    drop_adapters(model)
    assert not adapters_of(model)
    torch.testing.assert_close(model(IDS), wanted, rtol=1e-10, atol=1e-10)
    save_gpt2(model.float(), tmp_path)
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path)
    torch.testing.assert_close(theirs(IDS).logits, wanted.float(), rtol=1e-4, atol=1e-4)


def test_adapters_can_be_exchanged(folder):
    plain = load_gpt2(folder).double()
    model = adapted(folder, "lora")
    one = model(IDS)
    first = detach_adapters(model)
    torch.testing.assert_close(model(IDS), plain(IDS))
    add_adapters(model, DoRALinear, "attention.qkv", rank=2, alpha=2)
    detach_adapters(model)
    attach_adapters(model, first)
    torch.testing.assert_close(model(IDS), one)
    with pytest.raises(ValueError, match="not the layer that this adapter was made for"):
        attach_adapters(load_gpt2(folder).double(), first)


# -- what is refused


def test_targets_are_names_ends_or_patterns(folder):
    def found(targets):
        model = load_gpt2(folder)
        return list(adapters_of(add_adapters(model, LoRALinear, targets, rank=2, alpha=2)))

    assert found("attention.qkv") == ["blocks.0.attention.qkv", "blocks.1.attention.qkv"]
    assert found("blocks.1.attention.qkv") == ["blocks.1.attention.qkv"]
    assert len(found("blocks.0.*")) == 4
    assert len(found(["attention.*", "up"])) == 6
    assert len(found("*.[ud]*")) == 4
    with pytest.raises(
        ValueError, match=r"no linear layer is called 'qvk'.*blocks\.\*\.attention\.qkv"
    ):
        found(["attention.out", "qvk"])
    with pytest.raises(ValueError, match="are one tensor"):
        found("head")


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        (LoRALinear, {"rank": 0, "alpha": 1}, "rank=0 must be at least 1"),
        (DoRALinear, {"rank": -1, "alpha": 1}, "rank=-1"),
        (MoRALinear, {"rank": 0}, "rank=0 must be"),
        (MoRALinear, {"rank": 4, "kind": "type 1"}, "kind='type 1'"),
        (MoRALinear, {"rank": 48}, "k=68, more than the 48 inputs"),
    ],
)
def test_impossible_options_are_refused(folder, layer, options, message):
    model = load_gpt2(folder)
    with pytest.raises(ValueError, match=message):
        add_adapters(model, layer, "attention.out", **options)
    assert all(parameter.requires_grad for parameter in model.parameters())  # untouched


def test_a_second_adapter_is_refused(folder):
    model = adapted(folder, "lora")
    with pytest.raises(ValueError, match="has an adapter already"):
        add_adapters(model, LoRALinear, "attention.qkv.base", rank=2, alpha=2)
    with pytest.raises(ValueError, match="no linear layer is called"):
        add_adapters(model, LoRALinear, "attention.qkv", rank=2, alpha=2)


def test_models_with_adapters_are_not_saved_as_gpt2(folder, tmp_path):
    with pytest.raises(ValueError, match="merge adapters before saving"):
        save_gpt2(adapted(folder, "lora"), tmp_path)


def test_a_model_is_as_it_was_when_adapters_fail(folder, tmp_path):
    model = load_gpt2(folder)
    names = [name for name, _ in model.named_modules()]
    with pytest.raises(ValueError, match="k=62, more than the 48 inputs"):
        add_adapters(model, MoRALinear, ["attention.out", "up"], rank=16)
    save_adapters(adapted(folder, "lora").float(), tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alpha_pattern": {"h.1.*": "2"}}))
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors"):
        load_adapters(model, tmp_path)
    assert names == [name for name, _ in model.named_modules()]
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(ValueError, match="no targets"):
        add_adapters(model, LoRALinear, [], rank=2, alpha=2)


def test_merged_and_unmerged_do_not_mix(folder):
    model = merge_adapters(adapted(folder, "lora", ["qkv"]))
    with pytest.raises(ValueError, match=r"qkv is merged; call unmerge_adapters"):
        add_adapters(model, LoRALinear, "up", rank=2, alpha=2)
    with pytest.raises(ValueError, match="nothing to train: all parameters are frozen"):
        make_optimizer(drop_adapters(model), 1e-3)
