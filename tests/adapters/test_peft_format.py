"""What peft's adapter_config.json means, and which are refused."""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import GPT2LMHeadModel

from gptbook.adapters import (
    adapters_of,
    load_adapters,
    save_adapters,
)
from gptbook.gpt2 import load_gpt2
from tests.adapters.helpers import IDS, adapted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type='IA3'; known: lora"),
        ({"modules_to_save": ["wte"]}, r"uses \['modules_to_save'\]"),
        ({"bias": "all"}, "bias='all'"),
        ({"r": 3}, r"lora_A.weight of .* is \(4, 48\); wanted is \(3, 48\)"),
        ({"use_dora": True}, r"differ in \['lora_magnitude_vector'\]"),
        ({"exclude_modules": ["c_fc"]}, "unknown .*h.0.mlp.c_fc"),
        ({"layers_to_transform": [0]}, "unknown .*h.1.attn"),
        ({"layers_to_transform": 1, "layers_pattern": "layers"}, "layers_pattern='layers'"),
        ({"use_qalora": True}, r"uses \['use_qalora'\]"),
        ({"of_next_year": 0.5, "and_another": [], "third": 0}, r"uses \['of_next_year', 'third'\]"),
        ({"target_modules": ["c_attn"]}, "unknown .*h.0.attn.c_proj"),
        ({"target_modules": "transformer.h.0.*"}, "unknown .*h.1.attn"),
    ],
)
def test_other_adapters_are_refused(folder, tmp_path, change, message):
    save_adapters(adapted(folder, "lora").float(), tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        load_adapters(load_gpt2(folder), tmp_path)


def test_patterns_of_peft_are_understood(folder, tmp_path):
    """Ranks and scalings that differ from layer to layer, given as peft gives them."""
    config = LoraConfig(
        r=4, lora_alpha=8, fan_in_fan_out=True, target_modules=r".*\.(c_attn|c_fc|mlp\.c_proj)",
        rank_pattern={"c_fc": 2}, alpha_pattern={r"h\.1\.mlp\.c_(fc|proj)": 40},
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = get_peft_model(GPT2LMHeadModel.from_pretrained(folder), config)
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            parameter.data = 0.1 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path)
    ours = load_adapters(load_gpt2(folder), tmp_path)
    torch.testing.assert_close(ours.eval()(IDS), theirs.eval()(IDS).logits, rtol=1e-5, atol=1e-5)
    found = {name: (adapter.rank, adapter.alpha) for name, adapter in adapters_of(ours).items()}
    assert found["blocks.0.feed_forward.up"] == (2, 8)
    assert found["blocks.1.feed_forward.up"] == (2, 40)
    assert found["blocks.1.feed_forward.down"] == (4, 40)
    assert "blocks.0.attention.out" not in found


@pytest.mark.parametrize(
    "options",
    [
        {"use_dora": True, "use_rslora": True},
        {"layers_to_transform": [1]},
        {"layers_to_transform": 0, "layers_pattern": "h"},
        {"exclude_modules": ["mlp.c_proj"]},
        {"exclude_modules": r".*h\.0\..*", "target_modules": r".*c_proj"},
    ],
)
def test_options_of_peft_are_understood(folder, tmp_path, options):
    told = {"r": 4, "lora_alpha": 8, "fan_in_fan_out": True, "target_modules": ["c_attn", "c_proj"]}
    torch.manual_seed(0)
    base = GPT2LMHeadModel.from_pretrained(folder)
    theirs = get_peft_model(base, LoraConfig(**told | options))
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            parameter.data = parameter + 0.1 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path)
    ours = load_adapters(load_gpt2(folder), tmp_path).eval()
    torch.testing.assert_close(ours(IDS), theirs.eval()(IDS).logits, rtol=1e-5, atol=1e-5)
    save_adapters(ours, tmp_path / "again")
    again = PeftModel.from_pretrained(
        GPT2LMHeadModel.from_pretrained(folder), tmp_path / "again"
    ).eval()
    torch.testing.assert_close(again(IDS).logits, ours(IDS), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_adapters_that_change_the_base_are_refused(folder, tmp_path, init):
    config = LoraConfig(r=4, init_lora_weights=init, fan_in_fan_out=True, target_modules=["c_attn"])
    get_peft_model(GPT2LMHeadModel.from_pretrained(folder), config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"init_lora_weights='{init}'"):
        load_adapters(load_gpt2(folder), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[1]", "an object, not list"),
        ('{"peft_type": "LORA", "r": "4"}', "r='4'"),
        ('{"peft_type": "LORA", "r": 4.0}', r"r=4\.0"),
        ('{"peft_type": "LORA", "lora_alpha": NaN}', "lora_alpha=nan"),
        ('{"peft_type": "LORA", "gptbook": true}', "gptbook=True"),
        ('{"peft_type": "LORA", "layers_to_transform": "0"}', "layers_to_transform"),
        ('{"peft_type": "LORA", "target_modules": []}', "unknown tensor"),
        ('{"peft_type": "LORA", "target_modules": "("}', "unterminated subpattern"),
    ],
)
def test_spoiled_configs_are_refused_by_name(folder, tmp_path, text, message):
    save_adapters(adapted(folder, "lora").float(), tmp_path)
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(ValueError, match=rf"adapter_(config|model).*{message}"):
        load_adapters(load_gpt2(folder), tmp_path)
