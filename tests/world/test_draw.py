"""How items are parted into splits."""

from collections import Counter

import pytest

from gptbook.world.draw import part_of


def test_parts_have_their_shares():
    parts = Counter(part_of(i) for i in range(5000))
    assert parts["training"] == pytest.approx(3500, abs=150)
    assert parts["new_combinations"] == pytest.approx(1000, abs=120)
