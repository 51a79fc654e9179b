"""All that is done with adapters: putting them into a model, merging, and files in peft's format.

A folder holds adapter_config.json and adapter_model.safetensors. Others load with peft what is
saved here, and `load_adapters` reads what peft saved. MoRA is unknown to peft; it is written as the
LoRA of a higher rank that does exactly the same.
"""

import hashlib
import json
import re
from pathlib import Path

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
    refuse_merged,
    train_only_adapters,
    unchanged_on_error,
    unmerge_adapters,
)
from gptbook.dora import DoRALinear
from gptbook.files import read_tensors, written_whole
from gptbook.lora import LoRALinear
from gptbook.mora import MoRALinear
from gptbook.peft_config import by_pattern, from_gpt2_name, meant_layers, read_config, to_gpt2_name

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
CONFIG, TENSOR_FILE = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model.transformer."
TENSORS = {
    "lora_A.weight": "lora_A",
    "lora_B.weight": "lora_B",
    "lora_magnitude_vector": "magnitude",
}


def _as_lora(adapter):
    """The options and tensors with which peft does what an adapter does."""
    if isinstance(adapter, MoRALinear):
        A, B = adapter.as_lora()
        options = {"r": len(A), "lora_alpha": len(A)}
        return options, {"lora_A.weight": A, "lora_B.weight": B}
    options = {"r": adapter.rank, "lora_alpha": adapter.alpha}
    own = dict(adapter.named_parameters(recurse=False))
    return options, {theirs: own[ours] for theirs, ours in TENSORS.items() if ours in own}


def _kind(adapter):
    """What all adapters in a folder must have in common, since it is said only once."""
    if isinstance(adapter, MoRALinear):
        return f"MoRA(rank={adapter.rank}, kind={adapter.kind}, dropout={adapter.dropout})"
    name, stabilized = type(adapter).__name__, adapter.rank_stabilized
    return f"{name}(dropout={adapter.dropout}, rank_stabilized={stabilized})"


def save_adapters(model, folder):
    """Write the adapters of a GPT into a folder in peft's format; each file whole or not at all.

    Ranks and scalings may differ from layer to layer, but not the kind or the dropout. Raises
    ValueError for adapters that differ in those or are merged, and if anything else is trained.
    """
    adapters = adapters_of(model)
    if not adapters:
        raise ValueError("the model has no adapters")
    if len(kinds := set(map(_kind, adapters.values()))) > 1:
        raise ValueError(f"a folder holds adapters of one kind, not {sorted(kinds)}")
    refuse_merged(model)
    own = set(map(id, adapter_parameters(model)))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in own:
            raise ValueError(f"{name} is trained, too, and would not be saved; freeze it")
    tensors, options = {}, {}
    for name, adapter in adapters.items():
        options[to_gpt2_name(name)], found = _as_lora(adapter)
        for key, tensor in found.items():
            tensors[f"{PREFIX}{to_gpt2_name(name)}.{key}"] = tensor.detach().cpu().contiguous()
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
    (folder / CONFIG).unlink(missing_ok=True)  # whoever stops here leaves no mixture
    with written_whole(folder / TENSOR_FILE) as part:
        save_file(tensors, part, metadata={"format": "pt", "base": _fingerprint(model)})
    with written_whole(folder / CONFIG) as part:
        part.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_adapters(model, folder, any_base=False):
    """Put the adapters of a folder, saved here or by peft, into a GPT; return the model.

    Raises ValueError, with the file, for other methods, for tensors that are missing, unknown or of
    another shape, and for a model that has adapters already; the model is then as it was. What was
    saved here is also refused by a base with other weights, unless `any_base`.
    """
    config, path = read_config(Path(folder) / CONFIG), Path(folder) / TENSOR_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; other formats are not read")
    metadata, tensors = read_tensors(path)
    if adapters_of(model):
        raise ValueError("the model has adapters already; call detach_adapters first")
    if metadata.get("base", "") not in ("", _fingerprint(model)) and not any_base:
        raise ValueError(f"{path} is for a base with other weights; any_base=True loads it anyway")
    try:
        found = {name: {} for name in meant_layers(model, config["target_modules"])}
        for key, tensor in tensors.items():
            name, _, end = key.removeprefix(PREFIX).partition(".lora_")
            if not key.startswith(PREFIX) or name not in found or f"lora_{end}" not in TENSORS:
                raise ValueError(f"the unknown tensor {key}")
            if not tensor.is_floating_point() or not tensor.isfinite().all():
                raise ValueError(f"{key} is not of finite floating-point numbers")
            found[name][f"lora_{end}"] = tensor
        if not found:
            raise ValueError("no layer of the model is meant")
        with unchanged_on_error(model):
            adapters = {}
            for name, parts in found.items():
                base = model.get_submodule(from_gpt2_name(name))
                adapters[from_gpt2_name(name)] = _make_adapter(base, name, parts, config)
            attach_adapters(model, adapters)
            train_only_adapters(model)
    except (ValueError, TypeError, re.error) as error:
        raise ValueError(f"{path}: {error}") from error
    return model


def _fingerprint(model):
    """A digest of all weights of the base, in float32."""
    own, sha = set(map(id, adapter_parameters(model))), hashlib.sha256()
    names = {name.replace(".base.", "."): p for name, p in model.named_parameters()}
    for _, parameter in sorted(names.items()):
        if id(parameter) not in own:
            sha.update(parameter.detach().float().cpu().contiguous().numpy())
    return sha.hexdigest()


def _make_adapter(base, name, parts, config):
    """The adapter of a layer, filled with the tensors `parts` that a file has for it."""
    options = {"dropout": config["lora_dropout"]}
    if mora := config["gptbook"]:
        kind, options = MoRALinear, options | {"rank": mora["rank"], "kind": mora["kind"]}
    else:
        kind = DoRALinear if config["use_dora"] else LoRALinear
        options["rank"] = by_pattern(config["rank_pattern"], name, config["r"])
        options["alpha"] = by_pattern(config["alpha_pattern"], name, config["lora_alpha"])
        if config["use_rslora"]:
            options["rank_stabilized"] = True
    adapter = kind(base, **options)
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
        for key, tensor in _as_lora(adapter)[1].items():  # products, rounded again: not exact
            if (tensor - parts[key].to(tensor)).norm() > 0.01 * tensor.norm():
                raise ValueError(f"the tensors of {name} are not those of MoRA")
    else:
        for key, tensor in wanted.items():
            tensor.data.copy_(parts[key])
    return adapter
