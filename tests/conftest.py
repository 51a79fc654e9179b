"""Fixtures that several test files share."""

import random

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gptbook.data import python_docs
from gptbook.device import bf16_works
from gptbook.model import GPT
from gptbook.tokenizer import BPETokenizer
from tests.helpers import CONFIG, SPECIALS, rename

bf16_works("cpu")  # before the first product: where AMX is broken, it must not be used


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


@pytest.fixture(scope="module")
def texts():
    """1 MB of real text to train on, and as much held out as there is."""
    documents = list(python_docs())
    random.Random(0).shuffle(documents)
    text = "\n\n".join(documents).encode("utf-8")
    train, held_out = text[:1_000_000], text[1_000_000:]
    return train.decode("utf-8", errors="ignore"), held_out.decode("utf-8", errors="ignore")


@pytest.fixture(scope="module")
def tokenizer(texts):
    # Some text of other alphabets, so that merges of bytes inside characters are learned as well.
    return BPETokenizer.train(texts[0] + "日本語 ünïcödé 👩‍👩‍👧‍👦 مرحبا ٣٤ " * 50, 4096, SPECIALS)


@pytest.fixture(scope="module")
def fast(tokenizer):
    return tokenizer.to_tiktoken()
