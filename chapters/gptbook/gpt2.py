"""GPT-2's released weights, and the way to and from transformers' folder format; chapter 7.

Weights: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gptbook.download import cache_folder, download
from gptbook.files import ASSETS, refuse_nan, written_whole
from gptbook.gpt2_format import config_of, read_config, read_weights, tensor_names
from gptbook.model import GPT, GPTConfig
from gptbook.modes import unwrapped
from gptbook.tokenizer import BPETokenizer

# Revision and SHA-256 of model.safetensors in openai-community/<name> on the Hugging Face hub.
RELEASED = {
    "gpt2": (  # 124 million parameters, 0.5 GB
        "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
    ),
    "gpt2-medium": (  # 355 million, 1.5 GB
        "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
        "fc5a354a19255ad494f3d71549390baca1ccf61d1d822b9408971705c687c9cd",
    ),
    "gpt2-large": (  # 774 million, 3.2 GB
        "32b71b12589c2f8d625668d2335a01cac3249519",
        "5f47f3e12f91cd33b662ce7e433b6150ad5512b5884a2cee961b50e9c3bbebce",
    ),
    "gpt2-xl": (  # 1558 million, 6.4 GB
        "15ea56dee5df4983c59b2538573817e1667135e2",
        "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a",
    ),
}
BOOK = ASSETS / "base"


def load_gpt2(source: str | Path, num_heads: int | None = None, dropout: float = 0.0) -> GPT:
    """Return a `GPT` with the weights of `source`, in float32 on the CPU.

    `source` is "book", the base model of this book; or "gpt2", "gpt2-medium", "gpt2-large" or
    "gpt2-xl", which are downloaded once (0.5, 1.5, 3.2 and 6.4 GB); or a folder of transformers'
    (config.json and model.safetensors, or several files and their index; write "./gpt2" for one
    with such a name); or a .safetensors file alone, whose tensors tell the shape except for the
    number of heads: `num_heads`, by default as wide as GPT-2's, 64. `dropout` is that of further
    training.

    float32 files are mapped, not read: a weight takes memory when it is used. Training changes the
    model and never the file, which may be deleted or replaced meanwhile, but not overwritten in
    place. Raises ValueError, with the file and what is wrong with it, for other architectures, and
    for tensors that are missing, unknown or of another shape.
    """
    if source in RELEASED:
        revision, sha256 = RELEASED[source]
        hub = f"https://huggingface.co/openai-community/{source}/resolve/{revision}"
        path = download(f"{hub}/model.safetensors", sha256, cache_folder() / source)
    else:
        path = BOOK if source == "book" else Path(source)
    config = None
    if path.is_dir():
        config, path = read_config(path / "config.json", dropout), path / "model.safetensors"
        if num_heads not in (None, config.num_heads):
            raise ValueError(f"num_heads={num_heads}, but {source} says {config.num_heads}")
    tensors = read_weights(path)
    if tensors is None:
        raise FileNotFoundError(
            f"{path} is not there; load_gpt2 takes a folder with config.json and model.safetensors "
            f"(in one piece or several), a .safetensors file, or one of {list(RELEASED)}"
        )
    return _assemble(path, tensors, config, num_heads, dropout)


def save_gpt2(
    model: GPT,
    folder: str | Path,
    eos_id: int | None = None,
    tokenizer: BPETokenizer | None = None,
) -> None:
    """Write `model` into `folder` as config.json and model.safetensors, which transformers loads.

    Each file appears whole or not at all. The tied head is not written, a missing `qkv_bias` is
    written as zeros. `eos_id` tells transformers where its own generation ends. With `tokenizer`,
    its files are written as well, and the folder is all that transformers' `pipeline` needs. Raises
    ValueError for a model that is not a plain `GPT`, with adapters for example: merge them first;
    for one that holds NaN; and for a tokenizer with more ids than the model knows.
    """
    if tokenizer is not None:
        if tokenizer.vocab_size > model.config.vocab_size:
            raise ValueError(
                f"the tokenizer has {tokenizer.vocab_size} ids, the model {model.config.vocab_size}"
            )
        eos_id = tokenizer.eos_id if eos_id is None else eos_id
    model = unwrapped(model)
    _refuse_other_models(model)
    config, tensors = model.config, {}
    state = model.state_dict()
    for theirs, ours, transposed in tensor_names(config.num_layers):
        if ours not in state:  # a GPT without qkv_bias
            state[ours] = state[ours.replace("bias", "weight")].new_zeros(3 * config.embed_dim)
        tensor = state[ours].T if transposed else state[ours]
        tensors[f"transformer.{theirs}"] = tensor.cpu().contiguous()
    told = config_of(config, state["token_embedding.weight"].dtype, eos_id)
    refuse_nan(tensors)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / "model.safetensors") as part:
        save_file(tensors, part, metadata={"format": "pt"})
    with written_whole(folder / "config.json") as part:
        part.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    # Where another model was saved before, its end of text and its pieces must not outlive it.
    for left in ("generation_config.json", "model.safetensors.index.json"):
        (folder / left).unlink(missing_ok=True)
    if tokenizer is not None:
        tokenizer.save_for_transformers(folder)


def _assemble(
    path: Path,
    tensors: dict[str, Tensor],
    config: GPTConfig | None = None,
    num_heads: int | None = None,
    dropout: float = 0.0,
) -> GPT:
    """A GPT made of transformers' `tensors`, which came from `path`."""
    # Older files hold the causal mask, too.
    kept = [name for name in tensors if not re.search(r"\.attn\.(masked_)?bias$", name)]
    found = {name.removeprefix("transformer."): tensors[name] for name in kept}
    if len(found) < len(kept):
        raise ValueError(f"{path} has tensors both with and without the prefix transformer.")
    head = found.pop("lm_head.weight", None)
    if absent := {"wte.weight", "wpe.weight"} - found.keys():
        raise ValueError(f"{path} is not a GPT-2: it lacks {sorted(absent)}")
    if head is not None and not torch.equal(head, found["wte.weight"]):
        raise ValueError(f"{path} has a head of its own: lm_head.weight is not wte.weight")
    if config is None:
        (vocab_size, width), context = found["wte.weight"].shape, len(found["wpe.weight"])
        layers = {int(match[1]) for name in found if (match := re.match(r"h\.(\d+)\.", name))}
        if num_heads is None and width % 64:
            raise ValueError(f"{path} has the width {width}, no multiple of 64: give num_heads")
        depth, heads = max(layers, default=-1) + 1, num_heads or width // 64
        config = GPTConfig(vocab_size, context, width, depth, heads, dropout)
    model = _without_memory(config)
    wanted, state = model.state_dict(), {}
    names = list(tensor_names(config.num_layers))
    if differ := sorted({theirs for theirs, *_ in names} ^ found.keys()):
        word = "lacks" if differ[0] not in found else "has the unknown"
        raise ValueError(f"{path} {word} {differ[0]} ({len(differ)} tensors differ)")
    for theirs, ours, transposed in names:
        tensor, shape = found[theirs], wanted[ours].shape
        shape = shape[::-1] if transposed else shape
        if tensor.shape != shape or not tensor.is_floating_point():
            raise ValueError(
                f"{theirs} in {path} is {tensor.dtype} {tuple(tensor.shape)}; "
                f"wanted are floats of the shape {tuple(shape)}"
            )
        tensor = tensor.float()  # float32 stays what it is, a view of the file
        state[ours] = nn.Parameter(tensor.T if transposed else tensor)
    state["head.weight"] = state["token_embedding.weight"]
    model.load_state_dict(state, assign=True)
    return model


class _Unfilled(TorchFunctionMode):
    """New modules get no first values: to write over them would be all that happens to them."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"]
        return function(*args, **kwargs)


def _without_memory(config: GPTConfig) -> GPT:
    """A GPT whose parameters have a shape, but no memory yet."""
    with torch.device("meta"), _Unfilled():
        return GPT(config)


def _refuse_other_models(model: GPT) -> None:
    """ValueError unless `model` is built of the same modules as a new `GPT` of its config."""
    if type(model) is not GPT:
        raise ValueError(f"a {type(model).__name__} is not a GPT")
    plain = dict(_without_memory(model.config).named_modules())
    for name, module in model.named_modules():
        if name not in plain or type(module) is not type(plain[name]):
            raise ValueError(
                f"{name} is a {type(module).__name__}, which GPT-2's format does not know; "
                "merge adapters before saving"
            )
        if module.extra_repr() != plain[name].extra_repr() and not isinstance(module, nn.Dropout):
            raise ValueError(
                f"{name} was changed to ({module.extra_repr()}); "
                f"the model's config says ({plain[name].extra_repr()})"
            )
        plain.pop(name)
    if plain:
        raise ValueError(f"the model lacks {next(iter(plain))}")
    if model.head.weight is not model.token_embedding.weight:
        raise ValueError("the head's weight is no longer that of token_embedding; tie them again")
