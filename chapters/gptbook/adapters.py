"""All that is done with adapters: putting them into a model, merging, and files in peft's format.

A folder holds adapter_config.json and adapter_model.safetensors. Others load with peft what is
saved here, and `load_adapters` reads what peft saved. MoRA is unknown to peft; it is written as the
LoRA of a higher rank that does exactly the same.
"""

import hashlib
import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file

from gptbook.adapter import (
    adapter_parameters,
    adapters_of,
    add_adapters,
    attach_adapters,
    count_parameters,
    detach_adapters,
    drop_adapters,
    merge_adapters,
    unmerge_adapters,
)
from gptbook.dora import DoRALinear
from gptbook.files import read_tensors, written_whole
from gptbook.gpt2 import IN_BLOCK
from gptbook.lora import LoRALinear
from gptbook.mora import MoRALinear

__all__ = [
    "adapter_parameters",
    "adapters_of",
    "add_adapters",
    "attach_adapters",
    "count_parameters",
    "detach_adapters",
    "drop_adapters",
    "load_adapters",
    "merge_adapters",
    "save_adapters",
    "unmerge_adapters",
]
PREFIX = "base_model.model.transformer."
# What peft can do beside LoRA and DoRA on linear layers; a file that uses it is refused.
UNKNOWN = (
    "modules_to_save", "layers_to_transform", "layer_replication", "trainable_token_indices",
    "exclude_modules", "lora_bias", "alora_invocation_tokens", "target_parameters", "use_qalora",
    "arrow_config",
)  # fmt: skip
DEFAULTS = {
    "r": 8, "lora_alpha": 8, "lora_dropout": 0.0, "use_dora": False, "use_rslora": False,
    "rank_pattern": {}, "alpha_pattern": {}, "target_modules": (),
}  # fmt: skip
TENSORS = {
    "lora_A.weight": "lora_A",
    "lora_B.weight": "lora_B",
    "lora_magnitude_vector": "magnitude",
}


def _theirs(name):
    """transformers' name of one of our layers: blocks.0.attention.out is h.0.attn.c_proj."""
    blocks, index, ours = name.split(".", 2)
    back = {ours: theirs for theirs, ours in IN_BLOCK.items()}
    if blocks != "blocks" or ours not in back:
        raise ValueError(f"{name} is not a layer that GPT-2 has")
    return f"h.{index}.{back[ours]}"


def _ours(name):
    _, index, theirs = name.split(".", 2)
    return f"blocks.{index}.{IN_BLOCK[theirs]}"


def _as_lora(adapter):
    """The options and tensors with which peft does what an adapter does."""
    if isinstance(adapter, MoRALinear):
        A, B = adapter.as_lora()
        options = {"r": len(A), "lora_alpha": len(A)}
        return options, {"lora_A.weight": A, "lora_B.weight": B}
    options = {"r": adapter.rank, "lora_alpha": adapter.alpha}
    own = dict(adapter.named_parameters(recurse=False))
    return options, {theirs: own[ours] for theirs, ours in TENSORS.items() if ours in own}


def save_adapters(model, folder):
    """Write the adapters of a GPT into a folder in peft's format; each file whole or not at all.

    All must be of one kind and none merged. Raises ValueError otherwise.
    """
    adapters = adapters_of(model)
    kinds = {type(adapter) for adapter in adapters.values()}
    if len(kinds) != 1:
        raise ValueError(f"need adapters of one kind, not {[kind.__name__ for kind in kinds]}")
    if any(adapter.merged for adapter in adapters.values()):
        raise ValueError("the adapters are merged; call unmerge_adapters first")
    own = set(map(id, adapter_parameters(model)))
    tensors, options = {}, {}
    for name, adapter in adapters.items():
        options[_theirs(name)], found = _as_lora(adapter)
        for key, tensor in found.items():
            tensors[f"{PREFIX}{_theirs(name)}.{key}"] = tensor.detach().cpu().contiguous()
    if also := [
        name for name, p in model.named_parameters() if p.requires_grad and id(p) not in own
    ]:
        raise ValueError(f"{also[0]} is trained, too, and would not be saved; freeze it")
    first = next(iter(adapters.values()))
    common = next(iter(options.values()))
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "fan_in_fan_out": True, "bias": "none",
        "base_model_name_or_path": None, "inference_mode": True, "target_modules": list(options),
        "lora_dropout": first.dropout, "use_dora": isinstance(first, DoRALinear),
        "use_rslora": getattr(first, "rank_stabilized", False), **common,
        "rank_pattern": {n: o["r"] for n, o in options.items() if o != common},
        "alpha_pattern": {n: o["lora_alpha"] for n, o in options.items() if o != common},
    }  # fmt: skip
    if isinstance(first, MoRALinear):
        config["gptbook"] = {
            "about": "MoRA, written as the LoRA of a higher rank that does the same",
            "rank": first.rank, "kind": first.kind,
        }  # fmt: skip
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / "adapter_model.safetensors") as part:
        save_file(tensors, part, metadata={"format": "pt", "base": _fingerprint(adapters)})
    with written_whole(folder / "adapter_config.json") as part:
        part.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_adapters(model, folder, any_base=False):
    """Put the adapters of a folder, saved here or by peft, into a GPT; return the model.

    Raises ValueError, with the file, for other methods, for tensors that are missing, unknown or of
    another shape, and for a model that has adapters already. What was saved here is also refused by
    a base with other weights, unless `any_base`.
    """
    folder = Path(folder)
    config = _read_config(folder / "adapter_config.json")
    path = folder / "adapter_model.safetensors"
    metadata, tensors = read_tensors(path)
    if adapters_of(model):
        raise ValueError("the model has adapters already; call detach_adapters first")
    found = {name: {} for name in _meant(model, config["target_modules"])}
    for key, tensor in tensors.items():
        name, _, end = key.removeprefix(PREFIX).partition(".lora_")
        if not key.startswith(PREFIX) or name not in found or f"lora_{end}" not in TENSORS:
            raise ValueError(f"{path} has the unknown {key}")
        found[name][f"lora_{end}"] = tensor
    try:
        for name, parts in found.items():
            _put(model, name, parts, config)
        wanted = metadata.get("base")
        if wanted and not any_base and wanted != _fingerprint(adapters_of(model)):
            raise ValueError("the base has other weights; any_base=True loads it nevertheless")
    except ValueError as error:
        detach_adapters(model)
        raise ValueError(f"{path}: {error}") from None
    return model


def _fingerprint(adapters):
    """A digest of the weights that adapters stand beside, in float32."""
    sha = hashlib.sha256()
    for name in sorted(adapters):
        sha.update(adapters[name].base.weight.detach().float().cpu().contiguous().numpy())
    return sha.hexdigest()


def _meant(model, targets):
    """The layers, by transformers' names, that peft means by `target_modules`."""
    layers = [n for n, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)]
    names = [_theirs(name) for name in layers if name.startswith("blocks.")]
    if isinstance(targets, str):  # a pattern for the whole name
        return [name for name in names if re.fullmatch(targets, f"transformer.{name}")]
    return [n for n in names if any(f".transformer.{n}".endswith(f".{end}") for end in targets)]


def _by_pattern(patterns, name, default):
    """The value of the first pattern that the end of a name matches, as in peft."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", f"transformer.{name}"):
            return value
    return default


def _put(model, name, parts, config):
    """Put one adapter into its place and fill it."""
    options = {"dropout": config["lora_dropout"]}
    if mora := config.get("gptbook"):
        kind, options = MoRALinear, options | {"rank": mora["rank"], "kind": mora["kind"]}
    else:
        kind = DoRALinear if config["use_dora"] else LoRALinear
        options["rank"] = _by_pattern(config["rank_pattern"], name, config["r"])
        options["alpha"] = _by_pattern(config["alpha_pattern"], name, config["lora_alpha"])
        if config["use_rslora"]:
            options["rank_stabilized"] = True
    add_adapters(model, kind, _ours(name), **options)
    adapter = model.get_submodule(_ours(name))
    _, wanted = _as_lora(adapter)
    if differ := sorted(wanted.keys() ^ parts.keys()):
        raise ValueError(f"config and tensors of {name} differ in {differ}")
    for key, tensor in wanted.items():
        if parts[key].shape != tensor.shape:
            raise ValueError(
                f"{key} of {name} is {tuple(parts[key].shape)}; wanted is {tuple(tensor.shape)}"
            )
    if mora:
        adapter.from_lora(parts["lora_A.weight"], parts["lora_B.weight"])
        if not all(torch.equal(t, parts[key].to(t)) for key, t in _as_lora(adapter)[1].items()):
            raise ValueError(f"the tensors of {name} are not those of MoRA")
        return
    for key, tensor in wanted.items():
        tensor.data.copy_(parts[key])


def _read_config(path):
    config = json.loads(path.read_text(encoding="utf-8"))
    if (kind := config.get("peft_type")) != "LORA":
        raise ValueError(f"{path} has peft_type={kind!r}; LORA is what can be loaded")
    if used := [name for name in UNKNOWN if config.get(name)]:
        raise ValueError(f"{path} uses {used}, which this book does not build")
    if config.get("bias", "none") != "none":
        raise ValueError(f"{path} has bias={config['bias']!r}; 'none' is what can be loaded")
    if config.get("use_dora") and config.get("use_rslora"):
        raise ValueError(f"{path} uses DoRA rank-stabilized, which this book does not build")
    return DEFAULTS | config
