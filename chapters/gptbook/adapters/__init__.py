"""LoRA, DoRA and MoRA: put into a model, trained, merged, saved and loaded; chapters 9 to 11."""

from gptbook.adapters.base import Adapter
from gptbook.adapters.dora import DoRALinear
from gptbook.adapters.inject import (
    adapter_parameters,
    adapters_of,
    adapters_off,
    add_adapters,
    attach_adapters,
    count_parameters,
    detach_adapters,
    drop_adapters,
    find_layers,
    merge_adapters,
    unmerge_adapters,
)
from gptbook.adapters.lora import LoRALinear
from gptbook.adapters.mora import MoRALinear, square_size
from gptbook.adapters.peft_files import load_adapters, save_adapters

__all__ = [
    "Adapter",
    "DoRALinear",
    "LoRALinear",
    "MoRALinear",
    "adapter_parameters",
    "adapters_of",
    "adapters_off",
    "add_adapters",
    "attach_adapters",
    "count_parameters",
    "detach_adapters",
    "drop_adapters",
    "find_layers",
    "load_adapters",
    "merge_adapters",
    "save_adapters",
    "square_size",
    "unmerge_adapters",
]
