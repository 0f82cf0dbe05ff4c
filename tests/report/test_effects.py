"""The change of a bill, divided: known answers, and parts that add up to the last digit."""

from decimal import Decimal
from fractions import Fraction

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_async.report.effects import (
    Effects,
    Side,
    changes_of,
    grouped,
    rest,
    split,
    sum_exactly,
    summed,
)

from .conftest import cost


def side(amount, quantity="1", unit="tokens"):
    return Side(Decimal(amount), None if quantity is None else Decimal(quantity), unit)


def effects(**parts):
    return Effects(**{name: Decimal(value) for name, value in parts.items()})


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        pytest.param(
            side("3.30", "11"), side("6.60", "22"), effects(volume="3.30"), id="twice the volume"
        ),
        pytest.param(side(10, 4), side(15, 4), effects(price=5), id="price rise at one volume"),
        pytest.param(side(10, 4), side(12, 8), effects(volume=10, price=-8), id="both"),
        pytest.param(None, side(7), effects(new=7), id="new"),
        pytest.param(side(7), None, effects(gone=-7), id="gone"),
        pytest.param(None, side(7, None), effects(new=7), id="new without a quantity"),
        pytest.param(None, None, effects(), id="neither"),
        pytest.param(side(7), side(7), effects(), id="nothing changed"),
        pytest.param(side(0, 5), side(10, 5), effects(price=10), id="free before"),
        pytest.param(side(10, 5), side(0, 9), effects(volume=8, price=-18), id="free from now on"),
        pytest.param(side(7, None), side(9), effects(unexplained=2), id="no quantity before"),
        pytest.param(side(7), side(9, None), effects(unexplained=2), id="no quantity any more"),
        pytest.param(side(7, 0), side(9), effects(unexplained=2), id="an amount for no quantity"),
        pytest.param(side(7), side(9, 0), effects(unexplained=2), id="then none of it"),
        pytest.param(
            side(7, 1, "tokens"), side(9, 1, "k"), effects(unexplained=2), id="another unit"
        ),
        pytest.param(side(7, 1, None), side(9, 1), effects(unexplained=2), id="a unit at last"),
        pytest.param(side(7, 1, None), side(14, 2, None), effects(volume=7), id="no unit at all"),
        pytest.param(side(-5, 10), side(-10, 20), effects(volume=-5), id="a discount"),
        pytest.param(side(5, 10), side(-1, -2), effects(volume=-6), id="a refund"),
    ],
)
def test_a_change_is_divided(before, after, wanted):
    assert split(before, after) == wanted


def test_a_periodic_price_is_rounded_far_behind_and_the_rest_counts_as_price():
    found = split(side(1, 3), side(2, 5))
    assert found.volume == Decimal("0." + "6" * 39 + "7")
    assert found.total == 1
    assert abs(Fraction(found.volume) - Fraction(2, 3)) < Fraction(1, 10**40)


AMOUNTS = st.decimals(-1000, 1000, places=9)
QUANTITIES = st.integers(-(10**9), 10**9).map(Decimal) | st.decimals(1, 9, places=12)
ROWS = st.lists(
    st.builds(
        cost,
        AMOUNTS.map(str) | st.none(),
        currency=st.sampled_from(["usd", "USD", "eur"]),
        quantity=QUANTITIES | st.none(),
        quantity_unit=st.sampled_from(["tokens", "calls", None]),
        line_item=st.sampled_from(["gpt-5.2, input", "gpt-5.2 , input_tokens", "search", None]),
        project_id=st.sampled_from(["proj_1", "proj_2", None]),
    ),
    max_size=12,
)


def billed(rows, currency):
    return sum_exactly(
        row.amount_value for row in rows if row.amount and row.amount.currency.lower() == currency
    )


@given(ROWS, ROWS)
def test_parts_add_up_to_the_change_of_every_random_bill_whatever_the_grouping(old, new):
    found = changes_of(old, new)
    for currency in ("usd", "eur"):
        lines = found.get(currency, [])
        change = sum_exactly((billed(new, currency), -billed(old, currency)))
        assert summed(lines)[2].total == change
        for line in lines:
            assert line.effects.total == sum_exactly((line.amount, -line.before))
        for key in (lambda line: line.model, lambda line: line.project_id):
            groups = grouped(lines, key).values()
            assert sum_exactly(parts.total for _, _, parts in groups) == change
            for before, amount, parts in groups:
                assert parts.total == sum_exactly((amount, -before))


COUNTED = st.lists(
    st.tuples(
        st.sampled_from(["a, input", "b, output", "tool"]),
        st.decimals("0.01", 1000, places=6),
        st.integers(1, 10**9),
    ),
    max_size=9,
)


def counted(rows):
    return [
        cost(str(amount), quantity=Decimal(quantity), quantity_unit="tokens", line_item=item)
        for item, amount, quantity in rows
    ]


@given(COUNTED, COUNTED)
def test_with_quantities_everywhere_nothing_is_unexplained(old, new):
    for lines in changes_of(counted(old), counted(new)).values():
        assert summed(lines)[2].unexplained == 0


@given(COUNTED, st.integers(2, 9))
def test_more_of_the_same_has_no_price_effect(rows, factor):
    more = [(item, amount * factor, quantity * factor) for item, amount, quantity in rows]
    for lines in changes_of(counted(rows), counted(more)).values():
        before, amount, parts = summed(lines)
        assert parts == Effects(volume=sum_exactly((amount, -before)))


@given(COUNTED, st.decimals(0, 9, places=3))
def test_another_price_of_the_same_has_no_volume_effect(rows, factor):
    dearer = [(item, amount * factor, quantity) for item, amount, quantity in rows]
    for lines in changes_of(counted(rows), counted(dearer)).values():
        before, amount, parts = summed(lines)
        assert parts == Effects(price=sum_exactly((amount, -before)))


def only(old, new):
    (lines,) = changes_of(old, new).values()
    return lines


def test_a_model_that_replaces_another_is_gone_and_new():
    old = cost("5", quantity=Decimal(1), line_item="old, input")
    new = cost("6", quantity=Decimal(1), line_item="new, input")
    assert summed(only([old], [new]))[2] == effects(new=6, gone=-5)


def test_equal_rows_are_added_before_they_are_compared():
    half = cost("5", quantity=Decimal(2), quantity_unit="tokens", line_item="a, input")
    whole = cost("10", quantity=Decimal(4), quantity_unit="tokens", line_item="a, input")
    (line,) = only([half, half], [whole])
    assert (line.before, line.quantity_before, line.unit) == (10, 4, "tokens")
    assert line.effects == Effects()


def test_one_line_item_in_two_spellings_is_one():
    old = cost("5", quantity=Decimal(2), line_item="chat-latest , input")
    new = cost("10", quantity=Decimal(4), line_item="chat-latest, input_tokens")
    (line,) = only([old], [new])
    assert (line.line_item, line.model, line.effects) == (
        "chat-latest, input",
        "chat-latest",
        effects(volume=5),
    )


def test_a_quantity_that_one_of_the_rows_lacks_is_not_known():
    whole = cost("5", quantity=Decimal(2), line_item="a")
    lacking = cost("1", line_item="a")
    (line,) = only([whole], [whole, lacking])
    assert (line.quantity, line.effects) == (None, effects(unexplained=1))


def test_quantities_in_two_units_are_not_added():
    tokens = cost("5", quantity=Decimal(2), quantity_unit="tokens", line_item="a")
    calls = cost("5", quantity=Decimal(2), quantity_unit="calls", line_item="a")
    (line,) = only([tokens], [tokens, calls])
    assert (line.quantity, line.unit, line.effects) == (None, "tokens", effects(unexplained=5))


def test_what_was_given_away_counts_for_the_quantity():
    paid = cost("5", quantity=Decimal(5), line_item="a")
    free = cost(None, quantity=Decimal(5), line_item="a")
    (line,) = only([paid], [paid, free])
    assert line.effects == effects(volume=5, price=-5)
    (line,) = only([free], [paid])
    assert line.effects == effects(price=5)


def test_what_was_given_away_beside_two_currencies_belongs_to_neither():
    dollars = cost("5", quantity=Decimal(5), line_item="a")
    euros = cost("5", "eur", quantity=Decimal(5), line_item="a")
    free = cost(None, quantity=Decimal(5), line_item="a")
    found = changes_of([dollars, euros], [dollars, euros, free])
    assert [line.quantity for lines in found.values() for line in lines] == [None, None]


def test_currencies_are_never_mixed():
    found = changes_of([cost("5", line_item="a")], [cost("5", "eur", line_item="a")])
    assert summed(found["usd"])[2] == effects(gone=-5)
    assert summed(found["eur"])[2] == effects(new=5)


def test_what_no_line_item_accounts_for_is_neither_new_nor_gone():
    (line,) = only([], [cost("5", quantity=Decimal(1), project_id="proj_1")])
    assert (line.model, line.project_id, line.effects) == (None, "proj_1", effects(unexplained=5))
    assert rest(Decimal(2), Decimal(5)).effects == effects(unexplained=3)


def test_a_line_of_nothing_is_no_line():
    assert changes_of([cost("0", line_item="a")], [cost("0", quantity=Decimal(0))]) == {}
    assert attrs.asdict(Effects())["volume"] == 0
