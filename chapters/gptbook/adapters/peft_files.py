"""Adapters in folders of peft's format.

A folder holds adapter_config.json and adapter_model.safetensors. Others load with peft what is
saved here, and `load_adapters` reads what peft saved. MoRA is unknown to peft; it is written as the
LoRA of a higher rank that does exactly the same.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gptbook.adapters.base import Adapter
from gptbook.adapters.dora import DoRALinear
from gptbook.adapters.inject import (
    adapter_parameters,
    adapters_of,
    attach_adapters,
    refuse_merged,
    train_only_adapters,
    unchanged_on_error,
)
from gptbook.adapters.lora import LoRALinear
from gptbook.adapters.mora import MoRALinear
from gptbook.adapters.peft_format import (
    by_pattern,
    from_gpt2_name,
    meant_layers,
    read_config,
    to_gpt2_name,
)
from gptbook.files import read_tensors, refuse_nan, written_whole
from gptbook.modes import unwrapped

CONFIG, TENSOR_FILE = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model.transformer."
KINDS: tuple[type[Adapter], ...] = (LoRALinear, DoRALinear, MoRALinear)
OF_LAYER = ("r", "lora_alpha")  # what may differ from layer to layer
PARTS = ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")


def save_adapters(model: nn.Module, folder: str | Path, base_name: str | None = None) -> None:
    """Write the adapters of a GPT into a folder in peft's format; each file whole or not at all.

    `base_name` is what peft finds the base by: a folder of transformers', or a name on the hub.
    Ranks and scalings may differ from layer to layer, but not the kind or the dropout. Raises
    ValueError for adapters that differ in those, are merged or hold NaN, and if anything else is
    trained; what was saved before then stays.
    """
    model = unwrapped(model)
    adapters = adapters_of(model)
    if not adapters:
        raise ValueError("the model has no adapters")
    if foreign := sorted({type(a).__name__ for a in adapters.values() if type(a) not in KINDS}):
        raise ValueError(f"{foreign} are not classes of gptbook.adapters, which know their files")
    if len(kinds := set(map(_kind, adapters.values()))) > 1:
        raise ValueError(f"a folder holds adapters of one kind, not {sorted(kinds)}")
    configs = {to_gpt2_name(name): adapter.peft_config() for name, adapter in adapters.items()}
    refuse_merged(model)
    own = set(map(id, adapter_parameters(model)))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in own:
            raise ValueError(f"{name} is trained, too, and would not be saved; freeze it")
    tensors = {}
    for name, adapter in adapters.items():
        for key, tensor in adapter.peft_tensors().items():
            tensors[f"{PREFIX}{to_gpt2_name(name)}.{key}"] = tensor.detach().cpu().contiguous()
    first = next(iter(configs.values()))
    others = {n: c for n, c in configs.items() if any(c[k] != first[k] for k in OF_LAYER)}
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "fan_in_fan_out": True, "bias": "none",
        "base_model_name_or_path": base_name, "inference_mode": True,
        "target_modules": list(configs),
        **{name: value for name, value in first.items() if name != "gptbook"},
        "rank_pattern": {name: c["r"] for name, c in others.items()},
        "alpha_pattern": {name: c["lora_alpha"] for name, c in others.items()},
        **{name: value for name, value in first.items() if name == "gptbook"},
    }  # fmt: skip
    refuse_nan(tensors)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)  # whoever stops here leaves no mixture
    with written_whole(folder / TENSOR_FILE) as part:
        save_file(tensors, part, metadata={"format": "pt", "base": _fingerprint(model)})
    with written_whole(folder / CONFIG) as part:
        part.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _kind(adapter: Adapter) -> str:
    """What all adapters in a folder must have in common, since it is said only once."""
    config = adapter.peft_config()
    config |= config.pop("gptbook", {})  # MoRA's own rank, and the kind of MoRA
    told = {k: v for k, v in config.items() if k not in (*OF_LAYER, "about")}
    return f"{type(adapter).__name__}({', '.join(f'{k}={v}' for k, v in told.items())})"


def load_adapters(model: nn.Module, folder: str | Path, any_base: bool = False) -> nn.Module:
    """Put the adapters of a folder, saved here or by peft, into a GPT; return the model.

    Raises ValueError, with the file, for other methods, for tensors that are missing, unknown or of
    another shape, and for a model that has adapters already; the model is then as it was. What was
    saved here is also refused by a base with other weights, unless `any_base`.
    """
    given, model = model, unwrapped(model)
    config = read_config(Path(folder) / CONFIG)
    path, metadata, tensors = _read_tensors(Path(folder))
    if adapters_of(model):
        raise ValueError("the model has adapters already; call detach_adapters first")
    if metadata.get("base", "") not in ("", _fingerprint(model)) and not any_base:
        raise ValueError(f"{path} is for a base with other weights; any_base=True loads it anyway")
    try:
        found = _by_layer(tensors, meant_layers(model, config))
        with unchanged_on_error(model):
            adapters = {}
            for name, parts in found.items():
                base = model.get_submodule(from_gpt2_name(name))
                adapters[from_gpt2_name(name)] = _make_adapter(base, name, parts, config)
            attach_adapters(model, adapters)
            train_only_adapters(model)
    except (ValueError, TypeError, re.error) as error:
        raise ValueError(f"{path}: {error}") from error
    return given


def _read_tensors(folder: Path) -> tuple[Path, dict[str, str], dict[str, Tensor]]:
    """(file, its metadata, its tensors), of adapter_model.safetensors or an older .bin."""
    path, older = folder / TENSOR_FILE, folder / "adapter_model.bin"
    if path.exists():
        return path, *read_tensors(path)
    if not older.exists():
        raise FileNotFoundError(f"{path} is missing; other formats are not read")
    try:  # numbers only: no code in the file is run
        return older, {}, torch.load(older, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds
        raise ValueError(f"{older} holds more than tensors, or is not whole: {error}") from None


def _by_layer(tensors: dict[str, Tensor], names: list[str]) -> dict[str, dict[str, Tensor]]:
    """The tensors of a file by layer, {name: {peft's name of a part: tensor}}."""
    found: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for key, tensor in tensors.items():
        name, _, end = key.removeprefix(PREFIX).partition(".lora_")
        end = end.replace(".default", "")  # older versions name the adapter
        if end.startswith("magnitude_vector"):
            end = end.removesuffix(".weight")
        if not key.startswith(PREFIX) or name not in found or f"lora_{end}" not in PARTS:
            raise ValueError(f"the unknown tensor {key}")
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise ValueError(f"{key} is not of finite floating-point numbers")
        found[name][f"lora_{end}"] = tensor
    if not found:
        raise ValueError("no layer of the model is meant")
    return found


def _fingerprint(model: nn.Module) -> str:
    """A digest of all weights of the base, in float32."""
    own, sha = set(map(id, adapter_parameters(model))), hashlib.sha256()
    names = {name.replace(".base.", "."): p for name, p in model.named_parameters()}
    for _, parameter in sorted(names.items()):
        if id(parameter) not in own:
            sha.update(parameter.detach().float().cpu().contiguous().numpy().data)
    return sha.hexdigest()


def _make_adapter(
    base: Any, name: str, parts: dict[str, Tensor], config: dict[str, Any]
) -> Adapter:
    """The adapter of a layer, filled with the tensors `parts` that a file has for it."""
    own = {
        "r": by_pattern(config["rank_pattern"], name, config["r"]),
        "lora_alpha": by_pattern(config["alpha_pattern"], name, config["lora_alpha"]),
    }
    [adapter] = filter(None, (kind.from_peft(base, config | own) for kind in KINDS))
    wanted = adapter.peft_tensors()
    if differ := sorted(wanted.keys() ^ parts.keys()):
        raise ValueError(f"config and tensors of {name} differ in {differ}")
    for key, tensor in wanted.items():
        if parts[key].shape != tensor.shape:
            raise ValueError(
                f"{key} of {name} is {tuple(parts[key].shape)}; wanted is {tuple(tensor.shape)}"
            )
    try:
        adapter.load_peft(parts)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return adapter
