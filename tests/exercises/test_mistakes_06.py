"""The right answers that chapter 6's mistakes are changed from, by hand and beside torch.

The mistakes themselves are among the wrong answers of test_chapter_06.
"""

import torch
import torch.nn.functional as F

from gptbook.exercises.mistakes_06 import adam, cut, line, log_sum, rate
from tests.exercises.test_chapter_06 import torch_adam


def test_what_is_right_by_hand():
    # Points (0, 1) and (2, 3) from a = b = 0: errors −1 and −3, gradients −6 and −4.
    assert line([0.0, 2.0], [1.0, 3.0], 1, 0.5) == (3.0, 2.0)
    assert [rate(step, 6, 4.0, 2, 2) for step in range(6)] == [2.0, 4.0, 4.0, 4.0, 4.0, 2.0]


def test_what_is_right_beside_torch():
    given = (torch.tensor([4.0, 1.0]), [torch.ones(2), -3 * torch.ones(2)], 1.0, 0.5)
    torch.testing.assert_close(adam(*given), torch_adam(*given))
    logits = torch.tensor([1000.0, 999.0, -1000.0])
    wanted = F.cross_entropy(logits[None].double(), torch.tensor([1]))
    torch.testing.assert_close(log_sum(logits.double()) - logits[1], wanted)
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    rounded = cut(x, lambda bits: 0x7FFF + ((bits >> 16) & 1))
    assert torch.equal(rounded, x.bfloat16().float())
