"""The tests that every store must pass, and the one in memory that says what must be."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

import attrs
import pytest
from collecting import (
    COMPLETIONS,
    COSTS,
    DAY,
    HOUR,
    LATER_COLUMN,
    ORGANIZATION,
    START,
    ToyShelf,
    cost,
    flat,
    ordered,
    put,
    rows_of,
    snapshot,
    usage,
)
from hypothesis import given
from hypothesis import strategies as st

from usage_async import UsageTimeBucket
from usage_async._codec.tables import table_of_texts
from usage_async._sums.totals import Totals
from usage_async.collect import Feed, FeedState, OtherRow, Place, Run
from usage_async.errors import StoreError, StoreMovedError

MOST = 2**63 - 1
DIGITS = "12345678901234567890.1234567890123456785000000001"
"""Twenty digits before the point, and behind it more than a column of money has."""
LONG = 200
HOSTILE = [
    "it's",
    'a "quoted" name',
    "back\\slash\\n",
    "; DROP TABLE usage_feeds; --",
    "=cmd()",
    "line\nfeed\ttab",
    "\u2028\u2029\u202e\ufeff",
    "\U0001f980" * 3,
    "e\u0301\u00e9",
    "$1 %s {} ?",
    "NULL",
    "",
    " ",
    "ä" * LONG,
]


def requests(shelf, organization=ORGANIZATION, feed=COMPLETIONS):
    """The requests of each row of an organization, by the number of its bucket and by its model."""
    return {
        ((row["start_time"] - START) // feed.width_s, row.get("model")): row["num_model_requests"]
        for row in shelf.rows(feed)
        if row["organization"] == organization
    }


@pytest.fixture
def backend(shelf):
    opened = shelf.open()
    yield opened
    opened.close()


def place_of(shelf, backend, organization=ORGANIZATION):
    """The place of a store. One that keeps no revisions need not know what was never read."""
    place = backend.place(organization, COMPLETIONS)
    return place if "revisions" in shelf.keeps else attrs.evolve(place, unread=place.missing)


def kept(shelf, *what):
    if missing := set(what) - shelf.keeps:
        pytest.skip(f"this store keeps no {', '.join(sorted(missing))}")


def test_a_feed_that_was_never_collected_has_the_first_place(backend):
    assert backend.place(ORGANIZATION, COMPLETIONS) == Place()
    assert backend.states() == []


def test_a_snapshot_is_held_row_by_row(shelf, backend):
    given = snapshot(Place(), [[usage(1, model="a"), usage(2, model="b")], [], [usage(3)]])
    assert backend.apply(given, 0).rows == 3
    assert shelf.rows(COMPLETIONS) == rows_of(given)


def test_every_kind_of_column_is_held(shelf, backend):
    row = usage(1, project_id="p", batch=True, input_cached_tokens=0, service_tier="default")
    other = usage(1, project_id="p", batch=False)
    given = snapshot(Place(), [[row, other, usage(1)]])
    backend.apply(given, 0)
    assert shelf.rows(COMPLETIONS) == rows_of(given)
    money = cost("0.5", project_id="p", line_item="a, input", quantity="7", quantity_unit="tokens")
    unknown = cost("1", "eur", extra={"region": "eu", "deep": [1, {"x": None}]})
    given = snapshot(Place(), [[money, unknown, cost(None)]], feed=COSTS)
    backend.apply(given, 0)
    assert shelf.rows(COSTS) == rows_of(given)


def test_each_bucket_that_was_sent_is_replaced(shelf, backend):
    put(backend, [[usage(1, model="a"), usage(2, model="b")], [usage(3)]])
    put(backend, [[usage(4, model="b")], [usage(5), usage(6, model="c")]])
    assert requests(shelf) == {(0, "b"): 4, (1, None): 5, (1, "c"): 6}


def test_buckets_outside_of_the_range_are_kept(shelf, backend):
    put(backend, [[usage(n)] for n in range(1, 6)])
    put(backend, [[usage(20)], [usage(30)]], start=START + HOUR)
    assert requests(shelf) == {
        (0, None): 1,
        (1, None): 20,
        (2, None): 30,
        (3, None): 4,
        (4, None): 5,
    }


def test_an_empty_bucket_that_was_sent_removes_its_rows(shelf, backend):
    put(backend, [[usage(1)], [usage(2)], [usage(3)]])
    applied = put(backend, [[usage(1)], [], [usage(3)]])
    assert applied.rows == 2
    assert requests(shelf) == {(0, None): 1, (2, None): 3}


def test_only_empty_buckets_remove_all_rows(shelf, backend):
    put(backend, [[usage(1)], [usage(2)]])
    assert put(backend, [[], []]).rows == 0
    assert shelf.rows(COMPLETIONS) == []


def test_a_bucket_that_was_not_sent_keeps_its_rows(shelf, backend):
    put(backend, [[usage(1)], [usage(2)], [usage(3)], [usage(4)], [usage(5)]])
    put(backend, [[usage(10)], None, [usage(30)], None, []])
    assert requests(shelf) == {(0, None): 10, (1, None): 2, (2, None): 30, (3, None): 4}


def test_nothing_sent_at_all_changes_no_row_and_moves_the_place(shelf, backend):
    put(backend, [[usage(1)], [usage(2)]])
    before = shelf.rows(COMPLETIONS)
    put(backend, [None, None])
    assert shelf.rows(COMPLETIONS) == before
    place = backend.place(ORGANIZATION, COMPLETIONS)
    assert (place.number, place.missing) == (2, (START, START + HOUR))


def test_an_earlier_start_is_kept_until_the_gap_is_closed(shelf, backend):
    put(backend, [[usage(1)]], start=START + 9 * HOUR)
    put(backend, [[usage(2)], None, [usage(2)]], start=START + HOUR)
    backend.close()
    backend = shelf.open()
    place = backend.place(ORGANIZATION, COMPLETIONS)
    assert (place.first_start, place.wanted_start) == (START + 9 * HOUR, START + HOUR)
    assert place.missing == (START + 2 * HOUR,)
    put(backend, [[usage(3)]] * 9, start=START + HOUR)
    backend.close()
    backend = shelf.open()
    place = backend.place(ORGANIZATION, COMPLETIONS)
    assert (place.first_start, place.wanted_start, place.missing) == (START + HOUR, None, ())
    backend.close()


def test_other_organizations_are_untouched(shelf, backend):
    put(backend, [[usage(1)], [usage(2)]])
    put(backend, [[usage(3)], []], organization="other")
    assert requests(shelf) == {(0, None): 1, (1, None): 2}
    assert requests(shelf, "other") == {(0, None): 3}
    assert backend.place("other", COMPLETIONS).number == 1
    assert backend.place("a third", COMPLETIONS) == Place()


def test_names_of_organizations_are_not_patterns(shelf, backend):
    for number, name in enumerate(["a", "A", "a%", "a_", "a'", "a/b", "..", "a=b", "Ä"], 1):
        put(backend, [[usage(number)]], organization=name)
    put(backend, [[]], organization="a")
    found = {row["organization"]: row["num_model_requests"] for row in shelf.rows(COMPLETIONS)}
    assert found == {"A": 2, "a%": 3, "a_": 4, "a'": 5, "a/b": 6, "..": 7, "a=b": 8, "Ä": 9}


def test_each_feed_has_a_table_of_its_own(shelf, backend):
    daily = Feed.parse("completions:1d")
    put(backend, [[usage(1)]])
    put(backend, [[usage(24)]], feed=daily)
    assert requests(shelf) == {(0, None): 1}
    assert requests(shelf, feed=daily) == {(0, None): 24}


def test_the_place_moves_with_the_rows(shelf, backend):
    given = snapshot(
        Place(), [[usage(1)], None, [usage(3)], [usage(4)]], as_of=START + 4 * HOUR - 1
    )
    backend.apply(given, 0)
    assert place_of(shelf, backend) == given.next_place()
    assert place_of(shelf, backend).missing == (START + HOUR,)
    given = snapshot(given.next_place(), [[], [usage(2)]], as_of=START + 9 * DAY)
    backend.apply(given, 0)
    assert place_of(shelf, backend) == given.next_place()


def test_a_place_of_the_past_is_held(backend):
    given = snapshot(Place(), [[usage(1)]], start=-5 * HOUR, as_of=-4 * HOUR)
    backend.apply(given, 0)
    assert backend.place(ORGANIZATION, COMPLETIONS) == given.next_place()


def test_of_two_runs_with_one_place_the_second_is_refused_and_changes_nothing(shelf, backend):
    first = snapshot(Place(), [[usage(1)], [usage(2)]])
    backend.apply(first, 0)
    place = first.next_place()
    one = snapshot(place, [[usage(10)], [usage(20)]])
    late = snapshot(place, [[usage(7)], [usage(8)], [usage(9)]])
    backend.apply(one, 0)
    before = shelf.rows(COMPLETIONS), backend.states()
    with pytest.raises(StoreMovedError):
        backend.apply(late, 0)
    assert (shelf.rows(COMPLETIONS), backend.states()) == before
    backend.apply(attrs.evolve(late, place=one.next_place()), 0)
    assert requests(shelf) == {(0, None): 7, (1, None): 8, (2, None): 9}


def test_a_first_snapshot_is_refused_where_there_is_one(shelf, backend):
    put(backend, [[usage(1)]])
    with pytest.raises(StoreMovedError):
        backend.apply(snapshot(Place(), [[usage(2)]]), 0)
    assert requests(shelf) == {(0, None): 1}


def test_a_later_snapshot_is_refused_where_there_is_none(shelf, backend):
    with pytest.raises(StoreMovedError):
        backend.apply(snapshot(Place(number=3), [[usage(2)]]), 0)
    assert backend.states() == []


def test_runs_of_two_openings_are_told_apart_as_well(shelf, backend):
    put(backend, [[usage(1)]])
    second = shelf.open()
    place = second.place(ORGANIZATION, COMPLETIONS)
    assert place.number == 1
    put(backend, [[usage(2)]])
    with pytest.raises(StoreMovedError):
        second.apply(snapshot(place, [[usage(3)]]), 0)
    put(second, [[usage(4)]])
    second.close()
    assert requests(shelf) == {(0, None): 4}
    assert backend.place(ORGANIZATION, COMPLETIONS).number == 3


def test_an_organization_does_not_move_the_place_of_another(backend):
    place = backend.place("other", COMPLETIONS)
    put(backend, [[usage(1)]])
    backend.apply(snapshot(place, [[usage(1)]], organization="other"), 0)


def revised(shelf):
    return ordered(
        {
            "bucket": (row["start_time"] - START) // HOUR,
            **row["dimensions"],
            "old": row.get("old_figures", {}).get("num_model_requests"),
            "new": row.get("new_figures", {}).get("num_model_requests"),
            "seen_at": row["seen_at"],
        }
        for row in shelf.revisions()
    )


def test_a_row_that_changes_comes_or_goes_in_a_bucket_that_was_read_is_a_revision(shelf, backend):
    kept(shelf, "revisions")
    put(backend, [[usage(1, model="a"), usage(2, model="b")], [usage(3)], []])
    put(backend, [[usage(5, model="a"), usage(6, model="c")], [usage(3)], [usage(7)]], seen_at=99)
    assert revised(shelf) == ordered(
        [
            {"bucket": 0, "model": "a", "old": 1, "new": 5, "seen_at": 99},
            {"bucket": 0, "model": "b", "old": 2, "new": None, "seen_at": 99},
            {"bucket": 0, "model": "c", "old": None, "new": 6, "seen_at": 99},
            {"bucket": 2, "old": None, "new": 7, "seen_at": 99},
        ]
    )
    assert {(row["organization"], row["table_name"]) for row in shelf.revisions()} == {
        (ORGANIZATION, COMPLETIONS.table)
    }


def test_the_number_of_revisions_is_told(shelf, backend):
    kept(shelf, "revisions")
    assert put(backend, [[usage(1), usage(2, model="a")]]).revised == 0
    assert put(backend, [[usage(2), usage(3, model="a")]]).revised == 2
    assert put(backend, [[usage(2), usage(3, model="a")]]).revised == 0
    assert backend.states()[0].revisions == 2


def test_each_change_is_one_revision(shelf, backend):
    kept(shelf, "revisions")
    for at, number in enumerate((1, 1, 2, 2, 2, 1, 1)):
        put(backend, [[usage(number)]], seen_at=at)
    found = {row["seen_at"]: (row["old"], row["new"]) for row in revised(shelf)}
    assert found == {2: (1, 2), 5: (2, 1)}


def test_a_missing_dimension_is_a_value_and_an_empty_one_another(shelf, backend):
    kept(shelf, "revisions")
    put(backend, [[usage(1), usage(2, model="")]])
    assert put(backend, [[usage(1), usage(2, model="")]]).revised == 0
    put(backend, [[usage(2), usage(2, model="")]])
    assert [(row.get("model"), row["old"], row["new"]) for row in revised(shelf)] == [(None, 1, 2)]


def test_a_count_that_was_null_is_no_revision_and_one_that_goes_is(shelf, backend):
    kept(shelf, "revisions")
    put(backend, [[usage(1)]])
    assert put(backend, [[usage(1, input_cached_tokens=0)]]).revised == 0
    assert put(backend, [[usage(1)]]).revised == 1
    (row,) = shelf.revisions()
    assert row["old_figures"] == {**row["new_figures"], "input_cached_tokens": 0}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"extra": {"later": 0}}),
        ({"extra": {"later": 0}}, {}),
        ({"extra": {"later": 0}}, {"extra": {"later": 1}}),
        ({"extra": {"a": {"b": 1, "c": 2}}}, {"extra": {"a": {"c": 2, "b": 1}}}),
        ({"extra": {"later": 4}}, {"input_cached_tokens": 4}),
        ({"extra": {"later": "flex"}}, {"service_tier": "flex"}),
    ],
    ids=["comes", "goes", "changes", "changes its order", "turns a count", "turns a dimension"],
)
def test_a_field_beside_the_known_ones_is_stored_and_makes_no_revision(
    before, after, shelf, backend
):
    kept(shelf, "revisions")
    put(backend, [[usage(1, model="a", **before), usage(2, model="b", **before)]])
    given = snapshot(
        backend.place(ORGANIZATION, COMPLETIONS),
        [[usage(1, model="a", **after), usage(3, model="b", **after)]],
    )
    assert backend.apply(given, 0).revised == 1
    found = [(row["model"], row["old"], row["new"]) for row in revised(shelf)]
    assert found == [("b", 2, 3)]
    assert shelf.rows(COMPLETIONS) == rows_of(given)


def test_rows_that_differ_in_unknown_fields_alone_are_compared_by_their_sum(shelf, backend):
    kept(shelf, "revisions")

    def several(*numbers):
        rows = [usage(each, extra={"later": n}) for n, each in enumerate(numbers)]
        return put(backend, [rows]).revised

    def money(*amounts):
        rows = [cost(each, extra={"later": n}) for n, each in enumerate(amounts)]
        return put(backend, [rows], feed=COSTS).revised

    assert several(1, 2, 7) == 0
    assert several(7, 1, 2) == 0
    assert several(0, 3, 7) == 0
    assert put(backend, [[usage(10, tokens=30)]]).revised == 0
    assert several(1, 1, 7) == 1
    assert several(1, 4, 7) == 1
    assert several() == 1
    found = [(row["old"], row["new"]) for row in revised(shelf)]
    assert sorted(found, key=str) == [(1, 4), (10, 9), (12, None)]
    cached = [[usage(1, input_cached_tokens=4, extra={"later": 1}), usage(2)]]
    assert put(backend, cached).revised == 1
    assert put(backend, [[usage(3, tokens=20, input_cached_tokens=4)]]).revised == 0
    assert money("0.1", DIGITS) == 0
    assert money(DIGITS, "0.1") == 0
    assert money("0.1", DIGITS + "1") == 1


def test_a_note_that_changes_is_no_revision(shelf, backend):
    kept(shelf, "revisions")
    put(backend, [[cost(project_id="p", project_name="Old")]], feed=COSTS)
    assert put(backend, [[cost(project_id="p", project_name="New")]], feed=COSTS).revised == 0
    assert [row["project_name"] for row in shelf.rows(COSTS)] == ["New"]


def test_revisions_hold_money_with_all_digits(shelf, backend):
    kept(shelf, "revisions")
    put(backend, [[cost("0.1")]], feed=COSTS)
    put(backend, [[cost(DIGITS)]], feed=COSTS)
    put(backend, [[cost(f"{DIGITS}1")]], feed=COSTS)
    figures = [
        (row["old_figures"]["amount"], row["new_figures"]["amount"]) for row in shelf.revisions()
    ]
    assert ordered([{"a": a, "b": b} for a, b in figures]) == ordered(
        [{"a": "0.1", "b": DIGITS}, {"a": DIGITS, "b": f"{DIGITS}1"}]
    )


def test_another_currency_is_another_row(shelf, backend):
    kept(shelf, "revisions")
    put(backend, [[cost("1", "usd")]], feed=COSTS)
    put(backend, [[cost("1", "eur")]], feed=COSTS)
    found = [(row["dimensions"]["currency"], "new_figures" in row) for row in shelf.revisions()]
    assert sorted(found) == [("eur", True), ("usd", False)]


def test_a_bucket_that_had_not_ended_or_was_never_read_has_no_revision(shelf, backend):
    kept(shelf, "revisions")
    put(backend, [[usage(1)], None, [usage(3)]], as_of=START + 3 * HOUR - 1)
    applied = put(backend, [[usage(1)], [usage(2)], [usage(4)], [usage(5)]])
    assert applied.revised == 0
    assert put(backend, [[usage(1)], [usage(3)], [usage(5)], [usage(6)]]).revised == 3


def test_a_bucket_before_the_first_start_has_no_revision(shelf, backend):
    kept(shelf, "revisions")
    put(backend, [[usage(1)]], start=START + 2 * HOUR)
    applied = put(backend, [[usage(7)], [], [usage(2)]], as_of=START + 3 * HOUR)
    assert applied.revised == 1
    assert put(backend, [[usage(8)], [], [usage(2)]]).revised == 1


def test_a_bucket_that_is_not_sent_has_no_revision(shelf, backend):
    kept(shelf, "revisions")
    put(backend, [[usage(1)], [usage(2)]])
    assert put(backend, [None, [usage(2)]]).revised == 0


def test_a_bucket_that_was_left_out_once_has_its_revision_when_it_is_sent_again(shelf, backend):
    kept(shelf, "revisions")
    put(backend, [[usage(1)], [usage(2)]])
    put(backend, [None, None])
    put(backend, [None, None])
    assert put(backend, [[usage(5)], [usage(2)]]).revised == 1
    assert [(row["old"], row["new"]) for row in revised(shelf)] == [(1, 5)]


def test_a_bucket_that_was_sent_before_its_end_only_has_no_revision(shelf, backend):
    kept(shelf, "revisions")
    put(backend, [[usage(1)], [usage(2)]], as_of=START + HOUR + 1)
    put(backend, [[usage(1)], None])
    assert put(backend, [[usage(1)], [usage(5)]]).revised == 0
    assert put(backend, [[usage(1)], [usage(6)]]).revised == 1


def test_the_revisions_of_organizations_are_kept_apart(shelf, backend):
    kept(shelf, "revisions")
    put(backend, [[usage(1)]])
    put(backend, [[usage(5)]], organization="other")
    put(backend, [[usage(6)]], organization="other")
    assert [state.revisions for state in backend.states()] == [0, 1]
    assert [row["organization"] for row in shelf.revisions()] == ["other"]


def other_row(number, text):
    start = START + number * HOUR
    return OtherRow(start_time=start, end_time=start + HOUR, row=text)


def test_rows_of_other_kinds_are_replaced_with_their_bucket(shelf, backend):
    kept(shelf, "other")
    rows = [[usage(1)], [usage(2)], [usage(3)]]
    put(backend, rows, other=[other_row(0, '{"a": 1}'), other_row(0, '{"b": "\\u0000"}')])
    put(backend, rows, organization="other", other=[other_row(0, '{"c": 1}')])
    put(backend, rows, start=START + HOUR, other=[other_row(1, '{"d": 1}')])
    assert sorted(row["row"] for row in shelf.other()) == [
        '{"a": 1}',
        '{"b": "\\u0000"}',
        '{"c": 1}',
        '{"d": 1}',
    ]
    put(backend, [[], None, []], other=[other_row(2, '{"e": 1}')])
    found = [
        (row["organization"], row["table_name"], (row["start_time"] - START) // HOUR, row["row"])
        for row in shelf.other()
    ]
    assert sorted(found) == [
        (ORGANIZATION, COMPLETIONS.table, 1, '{"d": 1}'),
        (ORGANIZATION, COMPLETIONS.table, 2, '{"e": 1}'),
        ("other", COMPLETIONS.table, 0, '{"c": 1}'),
    ]


def test_rows_of_other_kinds_need_no_row_of_their_own_kind(shelf, backend):
    kept(shelf, "other")
    put(backend, [[], []], other=[other_row(1, "{}")])
    assert [row["end_time"] for row in shelf.other()] == [START + 2 * HOUR]


def test_money_keeps_every_digit(shelf, backend):
    rows = [
        cost(DIGITS, project_id="a", quantity=DIGITS, quantity_unit="tokens"),
        cost("-" + DIGITS, project_id="b"),
        cost("0." + "0" * 40 + "1", project_id="c"),
        cost("99999999999999999999.999999999999999999", project_id="d"),
        cost("0.000000000000000001", project_id="e"),
        cost("0", project_id="f"),
        cost("1E+3", project_id="g"),
    ]
    given = snapshot(Place(), [rows], feed=COSTS)
    assert given.rounded == 4
    applied = backend.apply(given, 0)
    assert applied.rounded == (4 if "amount_exact" in shelf.columns(COSTS) else 0)
    assert shelf.rows(COSTS) == rows_of(given)
    found = {row["project_id"]: row["amount"] for row in shelf.rows(COSTS)}
    assert found == {row.project_id: row.amount.value for row in rows}


def test_whole_numbers_reach_to_both_ends(shelf, backend):
    given = snapshot(Place(), [[usage(MOST, -MOST - 1, model="a"), usage(0, 2**53 + 1, model="b")]])
    backend.apply(given, 0)
    assert shelf.rows(COMPLETIONS) == rows_of(given)


def test_hostile_names_are_texts_like_others(shelf, backend):
    rows = [usage(1, model=name, project_id=other) for name in HOSTILE for other in HOSTILE]
    named = [name or "-" for name in HOSTILE if "long" in shelf.keeps or len(name) < LONG]
    given = [
        snapshot(Place(), [rows if number == 0 else rows[:1]], organization=name)
        for number, name in enumerate(named)
    ]
    for each in given:
        backend.apply(each, 0)
    assert shelf.rows(COMPLETIONS) == rows_of(*given)
    found = [state.organization for state in backend.states()]
    assert found == sorted(named)


def test_null_characters_are_kept_or_shown(shelf, backend):
    for _ in range(2):
        rows = [usage(1, model="a\0b", project_id="\0")]
        assert put(backend, [rows], organization="o\0").revised == 0
    mark = "\0" if "nulls" in shelf.keeps else "\u2400"
    found = [(row["model"], row["project_id"]) for row in shelf.rows(COMPLETIONS)]
    assert found == [(f"a{mark}b", mark)]


def test_hostile_values_of_unknown_fields_are_json(shelf, backend):
    given = snapshot(Place(), [[cost("1", extra={name: name}) for name in HOSTILE]], feed=COSTS)
    backend.apply(given, 0)
    assert shelf.rows(COSTS) == rows_of(given)


def test_the_table_adds_up_to_the_sums_of_the_rows(shelf, backend):
    buckets = [
        [
            cost(f"{number}.{bucket}", ("usd", "eur")[number % 2], project_id=f"p{number}")
            for number in range(5)
        ]
        for bucket in range(3)
    ]
    put(backend, buckets, feed=COSTS)
    sums: Any = Totals(COSTS.described.result_class, "amount", as_of=START + 10 * DAY)
    width = COSTS.width_s
    for number, rows in enumerate(buckets):
        start = START + number * width
        sums.add(UsageTimeBucket(start_time=start, end_time=start + width, results=tuple(rows)))
    expected = {each.amount.currency: each.amount.value for each in sums.groups()}
    found: dict[str, Decimal] = {}
    for row in shelf.rows(COSTS):
        found[row["currency"]] = found.get(row["currency"], Decimal(0)) + row["amount"]
    assert found == expected


def test_states_tell_of_each_feed_of_each_organization(shelf, backend):
    put(backend, [[usage(1), usage(2, model="a")]], organization="b")
    put(backend, [[cost("1")]], feed=COSTS, organization="b")
    put(backend, [[usage(1)]], organization="a")
    found = backend.states()
    assert [(state.organization, state.feed, state.rows) for state in found] == [
        ("a", COMPLETIONS, 1),
        ("b", COMPLETIONS, 2),
        ("b", COSTS, 1),
    ]
    assert [state.place for state in found] == [
        backend.place(state.organization, state.feed) for state in found
    ]
    assert [state.run for state in found] == [None, None, None]
    assert all(isinstance(state, FeedState) for state in found)


@pytest.mark.parametrize(
    "feed",
    [
        COMPLETIONS,
        COSTS,
        Feed("vector_stores", "1d"),
        Feed("completions", "1m", table="mine"),
        Feed("completions", "1h", filters={"models": ["it's", 'b"'], "batch": True}),
        Feed("costs", "1d", ("line_item",), {"project_ids": ["p\\", "\u2028"]}),
    ],
    ids=str,
)
def test_feeds_are_read_back_as_they_were(feed, backend):
    place = backend.place(ORGANIZATION, feed)
    backend.apply(snapshot(place, [[]], feed=feed), 0)
    assert backend.states()[0].feed == feed
    assert backend.place(ORGANIZATION, feed).number == 1


def run(**fields):
    given = {"organization": ORGANIZATION, "feed": COMPLETIONS, "started_at": START, "seconds": 1.5}
    return Run(**{**given, **fields})


def test_the_last_run_is_told_with_its_error(shelf, backend):
    kept(shelf, "runs")
    put(backend, [[usage(1)]])
    put(backend, [[usage(1)]], organization="other")
    whole = run(rows=1, buckets=2, requests=3, revised=4, rounded=5, missing=6)
    backend.record(whole)
    assert [state.run for state in backend.states()] == [whole, None]
    failed = run(started_at=START + HOUR, error='it\'s "over"; --\u2028')
    backend.record(failed)
    assert [state.run for state in backend.states()] == [failed, None]


def test_a_run_that_failed_before_its_first_snapshot_is_told_as_well(shelf, backend):
    kept(shelf, "runs")
    failed = run(error="403")
    backend.record(failed)
    found = backend.states()
    assert [(state.organization, state.feed, state.rows) for state in found] == [
        (ORGANIZATION, COMPLETIONS, 0)
    ]
    assert (found[0].place, found[0].run) == (Place(), failed)
    put(backend, [[usage(1)]])
    assert backend.states()[0].run == failed


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE usage_feeds SET missing = 'x' WHERE organization = 'other'",
        "UPDATE usage_feeds SET unread = '[\"x\"]' WHERE organization = 'other'",
        "DELETE FROM usage_layout",
    ],
)
def test_what_something_else_has_written_is_an_error_of_the_store(shelf, backend, sql):
    kept(shelf, "views")
    put(backend, [[usage(1)]], organization="other")
    shelf.run(sql)
    with pytest.raises(StoreError, match="usage_"):
        backend.place("other", COMPLETIONS)
    with pytest.raises(StoreError, match="usage_"):
        backend.states()
    if "usage_feeds" in sql:
        assert put(backend, [[usage(1)]]).rows == 1


def names(*rows):
    columns = zip(("dimension", "id", "name"), zip(*rows, strict=True), strict=True)
    return table_of_texts({name: list(values) for name, values in columns})


def test_names_keep_when_they_were_seen_and_stay(shelf, backend):
    kept(shelf, "names")
    backend.remember(ORGANIZATION, names(("project_id", "p", "A"), ("user_id", "p", "B")), 100)
    backend.remember("other", names(("project_id", "p", "C")), 150)
    backend.remember(ORGANIZATION, names(("project_id", "p", "A'"), ("project_id", "q", "D")), 200)
    assert ordered(shelf.names()) == ordered(
        {
            "organization": organization,
            "dimension": dimension,
            "id": identity,
            "name": name,
            "first_seen": first,
            "last_seen": last,
        }
        for organization, dimension, identity, name, first, last in [
            (ORGANIZATION, "project_id", "p", "A'", 100, 200),
            (ORGANIZATION, "project_id", "q", "D", 200, 200),
            (ORGANIZATION, "user_id", "p", "B", 100, 100),
            ("other", "project_id", "p", "C", 150, 150),
        ]
    )


def test_the_last_time_that_names_were_seen_is_told(shelf, backend):
    kept(shelf, "names")
    assert backend.keeps_names
    assert backend.named_at(ORGANIZATION) is None
    backend.remember(ORGANIZATION, names(("project_id", "p", "A")), 100)
    backend.remember(ORGANIZATION, names(("project_id", "q", "B")), 200)
    backend.remember("other", names(("project_id", "q", "B")), 300)
    assert backend.named_at(ORGANIZATION) == 200
    # The clock was ahead.
    backend.remember(ORGANIZATION, names(("project_id", "q", "B")), 150)
    assert backend.named_at(ORGANIZATION) == 150


def test_hostile_names_are_kept(shelf, backend):
    kept(shelf, "names")
    rows = [("project_id", f"id {name}", name) for name in HOSTILE]
    for seen_at in (1, 2):
        backend.remember(ORGANIZATION, names(*rows), seen_at)
    assert sorted((row["id"], row["name"]) for row in shelf.names()) == sorted(
        (identity, name) for _, identity, name in rows
    )


def test_a_reading_of_names_that_gave_none_is_remembered(shelf, backend):
    backend.remember(ORGANIZATION, table_of_texts({"dimension": [], "id": [], "name": []}), 100)
    assert shelf.names() == []
    assert backend.named_at(ORGANIZATION) == (100 if "names" in shelf.keeps else None)


def test_everything_is_there_after_the_store_was_closed(shelf):
    first = shelf.open()
    given = snapshot(Place(), [[usage(1)], [usage(2)]])
    first.apply(given, 0)
    first.close()
    second = shelf.open()
    assert second.place(ORGANIZATION, COMPLETIONS) == given.next_place()
    assert shelf.rows(COMPLETIONS) == rows_of(given)
    put(second, [[usage(3)], [usage(2)]])
    second.close()
    assert requests(shelf) == {(0, None): 3, (1, None): 2}


def test_a_store_that_was_never_used_is_closed_without_an_error(shelf):
    shelf.open().close()


def test_a_table_that_holds_another_feed_is_refused(shelf, backend):
    mine = Feed("completions", "1h", table="mine")
    put(backend, [[usage(1)]], feed=mine)
    before = shelf.rows(mine)
    for other in (
        Feed("completions", "1d", table="mine"),
        Feed("completions", "1h", ("model",), table="mine"),
        Feed("embeddings", "1h", (), {"models": ["a"]}, table="mine"),
    ):
        # Another organization must not put other rows into the table either.
        for organization in (ORGANIZATION, "other"):
            with pytest.raises(StoreError, match="mine") as raised:
                backend.place(organization, other)
            assert "\n" not in str(raised.value)
            with pytest.raises(StoreError):
                backend.apply(snapshot(Place(), [[]], feed=other, organization=organization), 0)
    assert shelf.rows(mine) == before
    assert [state.feed for state in backend.states()] == [mine]


def test_columns_that_an_earlier_release_lacked_are_added(shelf, backend):
    put(backend, [[usage(1, input_cached_tokens=4)], [usage(2)]])
    for name in ("input_cached_tokens", "service_tier", "batch"):
        shelf.drop_column(COMPLETIONS, name)
    backend.close()
    backend = shelf.open()
    rows = [usage(3, input_cached_tokens=5, service_tier="flex", batch=True)]
    put(backend, [rows], start=START + HOUR)
    backend.close()
    first, second = sorted(shelf.rows(COMPLETIONS), key=lambda row: row["start_time"])
    assert first["num_model_requests"] == 1
    assert not {"input_cached_tokens", "service_tier", "batch"} & first.keys()
    assert (second["input_cached_tokens"], second["service_tier"], second["batch"]) == (
        5,
        "flex",
        True,
    )


def test_columns_of_a_later_release_are_kept(shelf, backend):
    put(backend, [[usage(1)], [usage(2)]])
    shelf.add_column(COMPLETIONS, LATER_COLUMN)
    backend.close()
    backend = shelf.open()
    put(backend, [[usage(3)]], start=START + HOUR)
    backend.close()
    assert LATER_COLUMN in shelf.columns(COMPLETIONS)
    found = {row["num_model_requests"]: row.get(LATER_COLUMN) for row in shelf.rows(COMPLETIONS)}
    assert found == {1: 7, 3: None}


def test_a_store_of_a_later_release_is_refused_with_one_line(shelf):
    backend = shelf.open()
    put(backend, [[usage(1)]])
    backend.close()
    before = shelf.rows(COMPLETIONS)
    shelf.make_newer()
    for work in (
        lambda one: one.place(ORGANIZATION, COMPLETIONS),
        lambda one: one.apply(snapshot(Place(), [[usage(2)]]), 0),
    ):
        backend = shelf.open()
        with pytest.raises(StoreError, match="later release") as raised:
            work(backend)
        assert not isinstance(raised.value, StoreMovedError)
        assert "\n" not in str(raised.value)
        backend.close()
    assert shelf.rows(COMPLETIONS) == before


STEPS = st.lists(
    st.tuples(
        st.integers(0, 3),  # first bucket
        st.lists(
            st.none()
            | st.dictionaries(st.sampled_from(["a", "b", None]), st.integers(0, 2)).map(dict.items),
            min_size=1,
            max_size=4,
        ),
        st.sampled_from(["one", "other"]),
    ),
    min_size=1,
    max_size=5,
)


def test_every_store_holds_what_the_one_in_memory_holds(shelf, backend):
    model = ToyShelf()
    stores, numbers = (backend, model.open()), count()

    def alike(place):
        return place if "revisions" in shelf.keeps else attrs.evolve(place, unread=())

    # A database is made once, since that takes longer than an example.
    @given(steps=STEPS)
    def check(steps):
        example = next(numbers)
        names = {which: f"{which} {example}" for which in ("one", "other")}
        for first, buckets, which in steps:
            rows = [
                None if each is None else [usage(number, model=name) for name, number in each]
                for each in buckets
            ]
            start = START + first * HOUR
            applied = [put(each, rows, start=start, organization=names[which]) for each in stores]
            assert applied[0].rows == applied[1].rows
            if "revisions" in shelf.keeps:
                assert applied[0] == applied[1]
        for name in names.values():
            assert alike(stores[0].place(name, COMPLETIONS)) == alike(
                stores[1].place(name, COMPLETIONS)
            )

    check()
    assert shelf.rows(COMPLETIONS) == model.rows(COMPLETIONS)
    if "revisions" in shelf.keeps:
        assert ordered(shelf.revisions()) == ordered(model.revisions())
    assert [(each.organization, alike(each.place), each.rows) for each in stores[0].states()] == [
        (each.organization, alike(each.place), each.rows) for each in stores[1].states()
    ]


def test_times_of_a_row_are_instants():
    assert flat({"start_time": datetime(2026, 6, 1, tzinfo=UTC)}) == {"start_time": START}
