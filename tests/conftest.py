"""What several tests share: a GPT beside transformers' with the same weights; tables of tokens."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gptbook.model import GPT, GPTConfig

CONFIG = GPTConfig(vocab_size=97, context_length=24, embed_dim=32, num_layers=3, num_heads=4)
NAMES = {  # ours -> transformers'; the second four are stored transposed there
    "norm1": "ln_1",
    "norm2": "ln_2",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}


@pytest.fixture
def pair():
    """A GPT and a GPT2LMHeadModel with the same weights, in float64.

    The weights are scaled up: with tiny ones, a wrong GELU or epsilon would hide in the noise.
    """
    torch.manual_seed(0)
    model = GPT(CONFIG).double()
    for parameter in model.parameters():
        parameter.data.mul_(4).add_(0.1 * torch.randn_like(parameter))
    reference = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=97,
            n_positions=24,
            n_embd=32,
            n_layer=3,
            n_head=4,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    ).double()
    reference.load_state_dict(rename(model.state_dict()), strict=True)
    return model, reference


def assert_same_gradients(model, reference, rtol):
    """Every gradient of a GPT equals that of a GPT2LMHeadModel."""
    gradients = rename({name: p.grad for name, p in model.named_parameters()})
    wanted = dict(reference.named_parameters())
    assert set(gradients) == set(wanted)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name].grad, rtol=rtol, atol=1e-10)


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
