from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_async.report.formatting import clean, count, money, percent, size


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Web app", "Web app"),
        ("[red]Büro[/red] 東京", "[red]Büro[/red] 東京"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc\r\x7f\x9b", "a\\nb\\tc\\r\\x7f\\x9b"),
        ("\u202eevil\u2066\u200f", "\\u202eevil\\u2066\\u200f"),
        ("a\u2028b\u2029", "a\\u2028b\\u2029"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_could_steer_a_terminal_is_written_out(text, shown):
    assert clean(text) == shown


@given(st.text())
def test_a_clean_text_is_one_line_without_controls(text):
    assert all(char.isprintable() or char.isspace() for char in clean(text))
    assert len(clean(text).splitlines()) <= 1


@pytest.mark.parametrize(
    ("value", "currency", "sign", "shown"),
    [
        ("1234.5", "usd", False, "$1,234.50"),
        ("-1234.567", "usd", False, "-$1,234.57"),
        ("12", "usd", True, "+$12.00"),
        ("0", "usd", True, "$0.00"),
        ("0.004", "usd", False, "<$0.01"),
        ("-0.004", "usd", False, ">-$0.01"),
        ("0.005", "usd", False, "<$0.01"),
        ("-0.005", "usd", True, ">-$0.01"),
        ("0.004", "usd", True, "<+$0.01"),
        ("0.0051", "usd", False, "$0.01"),
        ("0.015", "usd", False, "$0.02"),
        ("12", "eur", False, "12.00 EUR"),
        ("12", "\x1b", False, "12.00 \\x1b"),
        ("1e308", "usd", False, "$1.000E+308"),
    ],
)
def test_money_is_rounded_to_cents(value, currency, sign, shown):
    assert money(Decimal(value), currency, sign=sign) == shown


def test_figures_never_depend_on_the_context_of_the_thread(hostile):
    assert money(Decimal("1234567.891"), "usd") == "$1,234,567.89"
    assert money(Decimal("-12345678901234567.891"), "usd") == "-$1.235E+16"
    assert percent(Decimal("1234567.891"), Decimal("7654321.123")) == "16.1%"
    assert percent(Decimal("1234567.891"), Decimal("0.001")) == "1.2E+11%"
    assert (count(123_456_789), size(123_456_789)) == ("123.5M", "117.7 MiB")


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (1, 3, "33.3%"),
        (-1, 3, "-33.3%"),
        (1, 0, ""),
        (Decimal("1e308"), Decimal(1), "1.0E+310%"),
    ],
)
def test_a_share_has_one_decimal(part, whole, shown):
    assert percent(part, whole) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (9999, "9,999"),
        (10_000, "10.0k"),
        (440_312_345, "440.3M"),
        (10**13, "10.0T"),
        (10**31, "1.000E+16P"),
    ],
)
def test_a_count_has_few_digits(value, shown):
    assert count(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (122 * 2**30, "122.0 GiB")],
)
def test_a_size_is_binary(value, shown):
    assert size(value) == shown
