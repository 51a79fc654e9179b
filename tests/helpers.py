"""What several tests share: a small shape, names of transformers, tables of tokens."""

import torch

from gptbook.model import GPTConfig
from gptbook.tokenizer import END_OF_TEXT

CONFIG = GPTConfig(vocab_size=97, context_length=24, embed_dim=32, num_layers=3, num_heads=4)
SPECIALS = [END_OF_TEXT, "<|user|>", "<|bot|>"]
NAMES = {  # ours -> transformers'; the second four are stored transposed there
    "norm1": "ln_1",
    "norm2": "ln_2",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}


def assert_same_gradients(model, reference, rtol):
    """Every gradient of a GPT equals that of a GPT2LMHeadModel."""
    gradients = rename({name: p.grad for name, p in model.named_parameters()})
    wanted = dict(reference.named_parameters())
    assert set(gradients) == set(wanted)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name].grad, rtol=rtol, atol=1e-10)


def assert_same_weights(model, other, rtol, atol, keys):
    """Two GPTs have the same weights after training; the biases of keys differ by `keys` at most.

    A key's bias adds the same to all scores of a query, which softmax cancels. So its gradient is
    rounding and nothing else, and AdamW, which divides by the size of gradients, makes steps of it
    that differ from one processor, thread count or layout in memory to another.
    """
    theirs = other.state_dict()
    assert model.state_dict().keys() == theirs.keys()
    for name, value in model.state_dict().items():
        pairs = [(value, theirs[name])]
        if name.endswith("qkv.bias"):
            queries, (k, their_k), values = zip(*(t.chunk(3) for t in pairs[0]), strict=True)
            assert (k - their_k).abs().max() <= keys
            pairs = [queries, values]
        for ours, wanted in pairs:
            torch.testing.assert_close(
                ours, wanted, rtol=rtol, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
            )


def rename(state):
    """Our names and orientation of the weights, turned into those of transformers."""
    renamed = {}
    for name, value in state.items():
        if name.startswith("blocks."):
            _, layer, rest = name.split(".", 2)
            ours, kind = rest.rsplit(".", 1)
            transposed = "norm" not in ours and kind == "weight"
            name = f"transformer.h.{layer}.{NAMES[ours]}.{kind}"
            value = value.T if transposed else value
        else:
            name = name.replace("token_embedding", "transformer.wte")
            name = name.replace("position_embedding", "transformer.wpe")
            name = name.replace("final_norm", "transformer.ln_f").replace("head.", "lm_head.")
        renamed[name] = value.contiguous()
    return renamed


def token_table(merges):
    """The bytes of every token, by id: the 256 single bytes, then what the merges make."""
    tokens = [bytes([i]) for i in range(256)]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens
