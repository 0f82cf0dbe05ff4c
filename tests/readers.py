"""Shared by the tests of the two readers: the readers, bodies, and refusals."""

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import strategies as st
from values import (
    one_row,
)

from usage_async import (
    ResponseError,
    loads,
)
from usage_async._codec.converter import make_converter
from usage_async._codec.json_text import READING_ERRORS

FAST, TOLERANT = make_converter(fast=True), make_converter(fast=False)


def tried(using, body, cls):
    """Read a body; None if the reader refuses it."""
    try:
        return using.loads(body, cls)
    except READING_ERRORS:
        return None


def completion(**fields):
    return one_row("completions", **fields)


def cost(value, **fields):
    return one_row("costs", amount={"value": value, "currency": "usd"}, **fields)


def refused_at(body, cls):
    with pytest.raises(ResponseError) as error:
        loads(body, cls)
    assert error.value.path in str(error.value)
    assert error.value.__context__ is None or error.value.__suppress_context__
    return error.value.path, str(error.value)


numbers = msgspec.json.Encoder(decimal_format="number")


def exact_json(text):
    return json.loads(text, parse_float=Decimal)


wild = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["40", "0E-6176", "NaN", " 1 ", "1_000", "true", "false", "1e999", "", "-0"])
    | st.sampled_from([40.0, 1.9, 1e300, -0.0, 2**63, 2**64, 10**40]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=3,
)
