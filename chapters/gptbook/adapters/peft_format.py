"""Names and options in peft's adapter folders: what its adapter_config.json means for a GPT."""

import json
import re
from pathlib import Path
from typing import Any

from torch import nn

from gptbook.gpt2_format import IN_BLOCK

# Fields that change nothing for a model that is loaded: who wrote it, how it was begun, and
# details of options that are off.
ASIDE = {
    "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision",
    "inference_mode", "fan_in_fan_out", "megatron_core", "loftq_config", "eva_config",
    "corda_config", "lora_ga_config", "qalora_group_size", "ensure_weight_tying",
}  # fmt: skip
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
    "exclude_modules": ((list, str), []), "layers_to_transform": ((list, int), []),
    "layers_pattern": ((list, str), []), "bias": (str, "none"),
    "init_lora_weights": ((bool, str), True), "gptbook": (dict, {}),
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


def meant_layers(model: nn.Module, config: dict[str, Any]) -> list[str]:
    """The layers, by transformers' names, that peft means by a config.

    That is `target_modules`, without `exclude_modules`, and of the blocks `layers_to_transform` if
    there are any.
    """
    layers = [n for n, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    names = [to_gpt2_name(name) for name in layers if name.startswith("blocks.")]
    blocks = config["layers_to_transform"]
    blocks = [blocks] if isinstance(blocks, int) else blocks
    names = [name for name in names if blocks == [] or int(name.split(".")[1]) in blocks]
    left_out = config["exclude_modules"]
    return [n for n in names if _means(config["target_modules"], n) and not _means(left_out, n)]


def _means(targets: str | list[str], name: str) -> bool:
    """Whether a pattern for the whole name, or a list of its possible ends, means a layer."""
    if isinstance(targets, str):
        return re.fullmatch(targets, f"transformer.{name}") is not None
    return any(f".transformer.{name}".endswith(f".{end}") for end in targets)


def by_pattern(patterns: dict[str, Any], name: str, default: Any) -> Any:
    """The value of the first pattern that the end of a name matches, as in peft."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", f"transformer.{name}"):
            return value
    return default


def read_config(path: Path) -> dict[str, Any]:
    """Read adapter_config.json; ValueError for what we do not build, or what cannot be."""
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))
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
    others = config.keys() - OPTIONS.keys() - ASIDE
    if odd := sorted(name for name in others if repr(config[name]) not in NOT_USED):
        raise ValueError(f"{path} uses {odd}, which this book does not build")
    if config["layers_pattern"] not in ("h", ["h"], []):
        raise ValueError(f"{path} has layers_pattern={config['layers_pattern']!r}; blocks are 'h'")
    for name, known in KNOWN.items():
        if str(config[name]).lower() not in known:
            raise ValueError(f"{path} has {name}={config[name]!r}; known: {', '.join(known)}")
    return config
