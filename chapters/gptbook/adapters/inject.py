"""Adapters in a model: found, put in, merged into its weights, taken out; chapter 9 builds it."""

import fnmatch
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from gptbook.adapters.base import Adapter


def adapters_of(model: nn.Module) -> dict[str, Adapter]:
    """Return {name: adapter} of all adapters in a model."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, Adapter)}


def adapter_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that adapters have added, without those of their bases."""
    found = []
    for adapter in adapters_of(model).values():
        frozen = set(map(id, adapter.base.parameters()))
        found += [parameter for parameter in adapter.parameters() if id(parameter) not in frozen]
    return found


def find_layers(model: nn.Module, targets: str | Iterable[str]) -> dict[str, nn.Linear]:
    """Return {name: layer} of the linear layers that `targets` mean.

    A target is a name, `blocks.0.attention.qkv`, the end of one, `attention.qkv`, or a pattern,
    `blocks.[01].*`. Raises ValueError if one of them matches nothing, or a tied head.
    """
    targets = [targets] if isinstance(targets, str) else list(targets)
    if not targets:
        raise ValueError("no targets: which layers shall have adapters?")
    layers = {n: layer for n, layer in model.named_modules() if n and isinstance(layer, nn.Linear)}
    found: dict[str, nn.Linear] = {}
    for target in targets:
        matching = [n for n in layers if fnmatch.fnmatchcase(f".{n}", f"*.{target}")]
        if not matching:
            raise ValueError(
                f"no linear layer is called {target!r}; there are {_without_numbers(layers)}"
            )
        found |= {name: layers[name] for name in matching}
    for layer in found.values():
        others = [n for n, p in model.named_parameters(remove_duplicate=False) if p is layer.weight]
        if len(others) > 1:
            raise ValueError(f"{' and '.join(others)} are one tensor: an adapter of one of them, "
                             "merged, would change the other, too")  # fmt: skip
    return {name: found[name] for name in layers if name in found}


def _without_numbers(names: Iterable[str]) -> list[str]:
    """The names of layers, with one * in place of numbers."""
    return sorted({".".join("*" if p.isdigit() else p for p in name.split(".")) for name in names})


def add_adapters(
    model: nn.Module,
    layer: Callable[..., Adapter],
    targets: str | Iterable[str],
    **options: Any,
) -> nn.Module:
    """Put `layer(linear, **options)` in place of the linear layers that `targets` mean.

    What targets may be, `find_layers` says.

    Everything else is frozen, so that only adapters are trained. Returns the model. Raises
    ValueError, and leaves the model as it was, if a layer has an adapter already, for targets that
    match nothing, for options out of range, and if other adapters are merged.
    """
    if not 0 <= options.get("dropout", 0.0) <= 1:
        raise ValueError(f"dropout={options['dropout']} must be from 0 to 1")
    chosen = find_layers(model, targets)
    for name in chosen:
        if name.endswith(".base"):
            raise ValueError(f"{name.removesuffix('.base')} has an adapter already")
    refuse_merged(model)
    with unchanged_on_error(model):
        attach_adapters(model, {name: layer(linear, **options) for name, linear in chosen.items()})
        train_only_adapters(model)
    return model


def train_only_adapters(model: nn.Module) -> None:
    """Freeze everything but what adapters have added, earlier ones included."""
    model.requires_grad_(False)
    for parameter in adapter_parameters(model):
        parameter.requires_grad_(True)


@contextmanager
def unchanged_on_error(model: nn.Module) -> Iterator[None]:
    """If the code inside fails, take out the adapters it put in, and unfreeze what it froze."""
    flags, before = [(p, p.requires_grad) for p in model.parameters()], adapters_of(model)
    try:
        yield
    except BaseException:
        _put_back(model, {n: a for n, a in adapters_of(model).items() if n not in before})
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        raise


def _put_back(model: nn.Module, adapters: dict[str, Adapter]) -> None:
    """Put the bases of adapters {name: adapter} back where the adapters are."""
    for name, adapter in adapters.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, adapter.base)


def refuse_merged(model: nn.Module) -> None:
    """Raise ValueError if an adapter of a model is merged."""
    if merged := [name for name, adapter in adapters_of(model).items() if adapter.merged]:
        raise ValueError(f"{merged[0]} is merged; call unmerge_adapters first")


def attach_adapters(model: nn.Module, adapters: dict[str, Adapter]) -> None:
    """Put adapters {name: adapter} in place of the layers of a model that they are made for."""
    layers = dict(model.named_modules())
    for name, adapter in adapters.items():
        if layers.get(name) is not adapter.base:
            raise ValueError(f"{name} is not the layer that this adapter was made for")
    for name, adapter in adapters.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, adapter)


def detach_adapters(model: nn.Module) -> dict[str, Adapter]:
    """Take all adapters out and return them, {name: adapter}.

    The base has its own weights then, still frozen. ValueError if an adapter is merged.
    """
    refuse_merged(model)
    adapters = adapters_of(model)
    _put_back(model, adapters)
    return adapters


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Let the base answer alone inside, as if it had no adapters.

    ValueError if an adapter is merged: the base then is no longer itself.
    """
    refuse_merged(model)
    before = {adapter: adapter.off for adapter in adapters_of(model).values()}
    try:
        for adapter in before:
            adapter.off = True
        yield
    finally:
        for adapter, off in before.items():
            adapter.off = off


def merge_adapters(model: nn.Module) -> nn.Module:
    """Merge all adapters of a model; they stay where they are, and can be unmerged.

    ValueError if there are none, or if one of them is merged already.
    """
    adapters = adapters_of(model).values()
    if not adapters:
        raise ValueError("the model has no adapters")
    if any(adapter.merged for adapter in adapters):
        raise ValueError("adapters are merged already; merging twice would add them twice")
    for adapter in adapters:
        adapter.merge()
    return model


def unmerge_adapters(model: nn.Module) -> nn.Module:
    """Undo `merge_adapters`: every weight of the base is restored exactly.

    ValueError if no adapter is merged.
    """
    merged = [adapter for adapter in adapters_of(model).values() if adapter.merged]
    if not merged:
        raise ValueError("no adapter is merged")
    for adapter in merged:
        adapter.unmerge()
    return model


def drop_adapters(model: nn.Module) -> nn.Module:
    """Merge all adapters for good: a plain model remains, still frozen, for `save_gpt2`."""
    adapters = adapters_of(model)
    for adapter in adapters.values():
        if not adapter.merged:
            adapter.merge()
    _put_back(model, adapters)
    return model


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Return the numbers of trainable and of all parameters, each tensor counted once."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)
