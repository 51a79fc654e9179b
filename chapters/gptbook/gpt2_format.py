"""Transformers' folder format of GPT-2: names of tensors, config.json, weights in several files.

The files hold the matrices of linear layers as (in, out); ours are their transposes, (out, in).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptbook.files import read_tensors
from gptbook.model import GPTConfig

TOP = {"wte": "token_embedding", "wpe": "position_embedding", "ln_f": "final_norm"}
IN_BLOCK = {
    "ln_1": "norm1",
    "attn.c_attn": "attention.qkv",
    "attn.c_proj": "attention.out",
    "ln_2": "norm2",
    "mlp.c_fc": "feed_forward.up",
    "mlp.c_proj": "feed_forward.down",
}
# What of transformers' configuration changes the result, and the values that our GPT computes with.
SUPPORTED = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),  # two names of the same function
    "layer_norm_epsilon": (1e-5,),
    "tie_word_embeddings": (True,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "reorder_and_upcast_attn": (False,),
    "add_cross_attention": (False,),
}


def tensor_names(num_layers: int) -> Iterator[tuple[str, str, bool]]:
    """(transformers' name, ours, whether transposed) of every tensor of a GPT-2."""
    pairs = [*TOP.items()]
    for i in range(num_layers):
        pairs += [(f"h.{i}.{theirs}", f"blocks.{i}.{ours}") for theirs, ours in IN_BLOCK.items()]
    for theirs, ours in pairs:
        linear = theirs.rsplit(".", 1)[-1].startswith("c_")
        yield f"{theirs}.weight", f"{ours}.weight", linear
        if theirs not in ("wte", "wpe"):
            yield f"{theirs}.bias", f"{ours}.bias", False


def read_config(path: Path, dropout: float) -> GPTConfig:
    """The `GPTConfig` of transformers' config.json."""
    try:
        told = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    needed = "vocab_size", "n_positions", "n_embd", "n_layer", "n_head"
    if missing := [name for name in needed if name not in told]:
        raise ValueError(f"{path} is no configuration of a GPT-2: it lacks {missing}")
    if wrong := {name: told[name] for name in needed if type(told[name]) is not int}:
        raise ValueError(f"{path} has {wrong}; wanted are whole numbers")
    if told["n_head"] < 1 or told["n_embd"] % told["n_head"]:
        raise ValueError(f"{path}: n_head={told['n_head']} heads do not share {told['n_embd']}")
    for option, values in SUPPORTED.items():
        if (value := told.get(option, values[0])) not in values:
            raise ValueError(f"{path} has {option}={value!r}; this GPT does {values[0]!r} only")
    if (inner := told.get("n_inner")) not in (None, 4 * told["n_embd"]):
        raise ValueError(f"{path} has n_inner={inner}; this GPT does 4 * n_embd only")
    vocab_size, context, width, depth, heads = (told[name] for name in needed)
    return GPTConfig(vocab_size, context, width, depth, heads, dropout)


def config_of(config: GPTConfig, dtype: torch.dtype, eos_id: int | None) -> dict[str, Any]:
    """What config.json says of a GPT in transformers' words."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": config.vocab_size, "n_positions": config.context_length,
        "n_embd": config.embed_dim, "n_layer": config.num_layers, "n_head": config.num_heads,
        **{f"{where}_pdrop": config.dropout for where in ("resid", "embd", "attn")},
        "bos_token_id": eos_id,
        "eos_token_id": eos_id,
        "dtype": str(dtype).removeprefix("torch."),
        **{option: values[0] for option, values in SUPPORTED.items()},
    }  # fmt: skip


def read_weights(path: Path) -> dict[str, Tensor] | None:
    """The tensors of the file `path`, or of the several in whose index they are; None without.

    Raises ValueError if the index names a tensor that its file lacks.
    """
    index = path.with_name(f"{path.name}.index.json")
    if path.is_file() or not index.is_file():
        return read_tensors(path)[1] if path.is_file() else None
    try:
        places = json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"]
        files = {name: read_tensors(path.with_name(name))[1] for name in set(places.values())}
        return {name: files[file][name] for name, file in places.items()}
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} does not say where the tensors are: {error!r}") from None
