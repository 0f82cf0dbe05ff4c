from __future__ import annotations

import pytest

from usage_async import emulator as door


def test_the_door_offers_what_it_names() -> None:
    assert sorted(door.__all__) == door.__all__
    assert set(door.__all__) <= set(dir(door))
    for name in door.__all__:
        assert getattr(door, name).__module__.startswith("usage_async.emulator.")
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        door.Nothing  # noqa: B018 - asking is the test
