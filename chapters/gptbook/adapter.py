"""Adapters: small trained layers beside frozen ones; chapters 7 to 9 build the kinds.

`add_adapters` puts them into a model, `merge_adapters` adds what they learned to its weights. Files
are the business of `gptbook.adapters`, from where all of this can be imported, too.
"""

import fnmatch

import torch
from torch import nn


class Adapter(nn.Module):
    """A frozen `nn.Linear` with something trained beside it: the base class of all kinds.

    A kind implements `forward` and `merged_weight`, the table (out, in) of a plain linear layer
    that does the same. It is meant for `nn.Linear` layers whose weight is their own.
    """

    def __init__(self, base):
        super().__init__()
        if not isinstance(base, nn.Linear):
            raise TypeError(f"adapters go beside nn.Linear, not {type(base).__name__}")
        self.base = base.requires_grad_(False)
        self.kept = None  # the weight of the base while this adapter is merged into it

    @property
    def merged(self):
        """True while the base holds what was learned."""
        return self.kept is not None

    def merged_weight(self):
        """The weight (out, in) of a linear layer that does what base and adapter do together."""
        raise NotImplementedError

    @torch.no_grad()
    def merge(self):
        """Put what was learned into the base's weight; ValueError if it is there already."""
        if self.merged:
            raise ValueError("this adapter is merged already; merging twice would add it twice")
        new = self.merged_weight()
        self.kept, self.base.weight.data = self.base.weight.data, new

    @torch.no_grad()
    def unmerge(self):
        """Give the base its own weight back, to the last bit; ValueError if it has it."""
        if not self.merged:
            raise ValueError("this adapter is not merged")
        self.base.weight.data, self.kept = self.kept.to(self.base.weight), None


def adapters_of(model):
    """Return {name: adapter} of all adapters in a model."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, Adapter)}


def adapter_parameters(model):
    """Return the parameters that adapters have added, without those of their bases."""
    found = []
    for adapter in adapters_of(model).values():
        frozen = set(map(id, adapter.base.parameters()))
        found += [parameter for parameter in adapter.parameters() if id(parameter) not in frozen]
    return found


def find_layers(model, targets):
    """Return {name: layer} of the linear layers that `targets` mean.

    A target is a name, `blocks.0.attention.qkv`, the end of one, `attention.qkv`, or a pattern,
    `blocks.[01].*`. Raises ValueError if one of them matches nothing, or a tied head.
    """
    targets = [targets] if isinstance(targets, str) else list(targets)
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    found = {}
    for target in targets:
        matching = [n for n in layers if fnmatch.fnmatchcase(f".{n}", f"*.{target}")]
        if not matching:
            raise ValueError(f"no linear layer is called {target!r}; there are {_kinds(layers)}")
        found |= {name: layers[name] for name in matching}
    for layer in found.values():
        others = [n for n, p in model.named_parameters(remove_duplicate=False) if p is layer.weight]
        if len(others) > 1:
            raise ValueError(f"{' and '.join(others)} are one tensor: an adapter of one of them, "
                             "merged, would change the other, too")  # fmt: skip
    return {name: found[name] for name in layers if name in found}


def _kinds(names):
    """The names of layers, with one * in place of numbers."""
    return sorted({".".join("*" if p.isdigit() else p for p in name.split(".")) for name in names})


def add_adapters(model, layer, targets, **options):
    """Put `layer(linear, **options)` in place of the linear layers that `targets` mean; see there.

    Everything else is frozen, so that only adapters are trained. Returns the model. Raises
    ValueError if a layer has an adapter already, and for targets that match nothing.
    """
    chosen = find_layers(model, targets)
    for name in chosen:
        if name.endswith(".base"):
            raise ValueError(f"{name.removesuffix('.base')} has an adapter already")
    attach_adapters(model, {name: layer(linear, **options) for name, linear in chosen.items()})
    model.requires_grad_(False)
    for parameter in adapter_parameters(model):  # of earlier adapters, too
        parameter.requires_grad_(True)
    return model


def attach_adapters(model, adapters):
    """Put adapters {name: adapter} into the places of a model that they are made for."""
    for name, adapter in adapters.items():
        parent, _, child = name.rpartition(".")
        there = model.get_submodule(name)
        if there is not adapter.base:
            raise ValueError(f"{name} is not the layer that this adapter was made for")
        setattr(model.get_submodule(parent), child, adapter)


def detach_adapters(model):
    """Take all adapters out, so that the base stands as it was; return them, {name: adapter}."""
    adapters = adapters_of(model)
    if merged := [name for name, adapter in adapters.items() if adapter.merged]:
        raise ValueError(f"{merged[0]} is merged; call unmerge_adapters first")
    for name, adapter in adapters.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, adapter.base)
    return adapters


def merge_adapters(model):
    """Merge all adapters of a model; they stay where they are, and can be unmerged."""
    for adapter in _all(model):
        adapter.merge()
    return model


def unmerge_adapters(model):
    """Undo `merge_adapters`: every weight of the base is what it was, to the last bit."""
    for adapter in _all(model):
        adapter.unmerge()
    return model


def drop_adapters(model):
    """Merge all adapters for good: a plain model remains, which `save_gpt2` can save."""
    for name, adapter in adapters_of(model).items():
        if not adapter.merged:
            adapter.merge()
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, adapter.base)
    return model


def _all(model):
    adapters = adapters_of(model).values()
    if not adapters:
        raise ValueError("the model has no adapters")
    if len({adapter.merged for adapter in adapters}) > 1:
        raise ValueError("some adapters are merged and some are not")
    return adapters


def count_parameters(model):
    """Return (trained, all) numbers of parameters, each tensor counted once."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)
