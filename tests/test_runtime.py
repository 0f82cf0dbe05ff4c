"""The runtime: the one place of all that is not deterministic."""

import asyncio
import random
import time

import attrs
import pytest

from usage_async import Runtime


def test_by_default_it_is_the_machine():
    runtime = Runtime()
    assert (runtime.now, runtime.monotonic) == (time.time, time.monotonic)
    assert (runtime.sleep, runtime.random) == (asyncio.sleep, random.random)


def test_a_test_hands_in_its_own():
    runtime = Runtime(now=lambda: 5.0)
    assert runtime.now() == 5
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        runtime.now = time.time
    with pytest.raises(TypeError):
        Runtime(time.time)
