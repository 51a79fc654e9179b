"""What chapter 3's checks compare answers with, beside torch; and an iterable that is used once."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from gptbook.exercises import drawn
from gptbook.exercises.attending import Once, attend, grouped, rotation, softmax, stream


@pytest.mark.parametrize("scores", [[0.0, 3.0], [1000.0, 999.0, -math.inf], [-1000.0, -1000.0]])
def test_softmax(scores):
    assert softmax(scores) == pytest.approx(torch.tensor(scores).softmax(0).tolist())


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_attention_in_groups(groups):
    q, k, v = drawn((4, 5, 8), (groups, 5, 8), (groups, 5, 8))
    wanted = F.scaled_dot_product_attention(
        q[None], k[None], v[None], is_causal=True, enable_gqa=True
    )[0]
    torch.testing.assert_close(grouped(q, k, v, join=False), wanted)
    torch.testing.assert_close(grouped(q, k, v), torch.cat(list(wanted), dim=1))
    if groups == 4:
        torch.testing.assert_close(attend(q, k, v), wanted)


def test_the_rotation_leads_back():
    point = torch.tensor([math.cos(2.0), math.sin(2.0)])
    torch.testing.assert_close(
        point @ rotation(3, 0.5), torch.tensor([math.cos(0.5), math.sin(0.5)])
    )


def test_a_stream_gives_what_the_last_row_of_attention_is():
    q, k, v = (2 * part for part in drawn((6, 4), (6, 4), (6, 4)))
    pairs = Once(list(zip(k, v, strict=True)))
    torch.testing.assert_close(stream(q[-1], pairs), attend(q, k, v)[-1])


def test_pairs_are_gone_through_once_and_not_kept():
    pairs = Once(list(zip(*drawn((4, 2), (4, 2)), strict=True)))
    spare = copy.deepcopy(pairs)
    assert sum(1 for _ in pairs) == 4
    assert list(pairs) == []
    with pytest.raises(ValueError, match="still kept"):
        list(spare)
