"""Names and options in peft's adapter folders: what its adapter_config.json means for a GPT."""

import json
import re
from pathlib import Path
from typing import Any

from torch import nn

from gptbook.gpt2 import IN_BLOCK

# What peft can do beside LoRA and DoRA on linear layers; a file that uses it is refused.
UNKNOWN = (
    "modules_to_save", "layers_to_transform", "layer_replication", "trainable_token_indices",
    "exclude_modules", "lora_bias", "alora_invocation_tokens", "target_parameters", "use_qalora",
    "arrow_config", "use_bdlora", "kasa_config", "velora_config", "monteclora_config",
)  # fmt: skip
NOT_USED = ("None", "False", "[]", "{}")
KNOWN = {
    "peft_type": ("lora",),
    "bias": ("none",),
    # With others, such as PiSSA, peft changes the base as well.
    "init_lora_weights": ("true", "false", "gaussian", "orthogonal", "eva"),
}
# Each option with its type and its default.
OPTIONS: dict[str, tuple[Any, Any]] = {
    "peft_type": (str, ""), "r": (int, 8), "lora_alpha": ((int, float), 8),
    "lora_dropout": ((int, float), 0.0), "use_dora": (bool, False), "use_rslora": (bool, False),
    "rank_pattern": (dict, {}), "alpha_pattern": (dict, {}), "target_modules": ((list, str), []),
    "bias": (str, "none"), "init_lora_weights": ((bool, str), True), "gptbook": (dict, {}),
}  # fmt: skip


def to_gpt2_name(name: str) -> str:
    """transformers' name of one of our layers: blocks.0.attention.out is h.0.attn.c_proj."""
    back = {ours: theirs for theirs, ours in IN_BLOCK.items()}
    blocks, _, rest = name.partition(".")
    index, _, ours = rest.partition(".")
    if blocks != "blocks" or ours not in back:
        raise ValueError(f"{name!r} is not a linear layer in a block of a GPT")
    return f"h.{index}.{back[ours]}"


def from_gpt2_name(name: str) -> str:
    """Our name of a layer that transformers calls h.0.attn.c_proj: blocks.0.attention.out."""
    _, index, theirs = name.split(".", 2)
    return f"blocks.{index}.{IN_BLOCK[theirs]}"


def meant_layers(model: nn.Module, targets: str | list[str]) -> list[str]:
    """The layers, by transformers' names, that peft means by `target_modules`."""
    layers = [n for n, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    names = [to_gpt2_name(name) for name in layers if name.startswith("blocks.")]
    if isinstance(targets, str):  # a pattern for the whole name
        return [name for name in names if re.fullmatch(targets, f"transformer.{name}")]
    return [n for n in names if any(f".transformer.{n}".endswith(f".{end}") for end in targets)]


def by_pattern(patterns: dict[str, Any], name: str, default: Any) -> Any:
    """The value of the first pattern that the end of a name matches, as in peft."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", f"transformer.{name}"):
            return value
    return default


def read_config(path: Path) -> dict[str, Any]:
    """Read adapter_config.json; ValueError for what we do not build, or what cannot be."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON in UTF-8: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold an object, not {type(config).__name__}")
    for name, (kinds, default) in OPTIONS.items():
        if config.setdefault(name, default) is None:
            config[name] = default
        value = config[name]
        if not isinstance(value, kinds) or value != value:  # NaN differs from itself
            raise ValueError(f"{path} has {name}={value!r}")
    used = {name: config.get(name) for name in UNKNOWN}
    used |= {"use_dora and use_rslora": config["use_dora"] and config["use_rslora"]}
    if odd := [name for name, value in used.items() if repr(value) not in NOT_USED]:
        raise ValueError(f"{path} uses {odd}, which this book does not build")
    for name, known in KNOWN.items():
        if str(config[name]).lower() not in known:
            raise ValueError(f"{path} has {name}={config[name]!r}; known: {', '.join(known)}")
    return config
