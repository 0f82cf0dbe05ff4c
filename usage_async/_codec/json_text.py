"""JSON text into plain values, and the errors that this can raise."""

from __future__ import annotations

from decimal import Decimal

import msgspec

READING_ERRORS = (
    ExceptionGroup,  # of cattrs
    msgspec.MsgspecError,
    ArithmeticError,  # an exponent beyond what Decimal can hold
    ValueError,
    TypeError,
    KeyError,
    RecursionError,
)
"""Errors that reading untrusted JSON can raise."""

parse = msgspec.json.Decoder(float_hook=Decimal).decode
"""Decode JSON text into plain values, numbers with a fraction into Decimals."""
