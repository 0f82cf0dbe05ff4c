"""Buckets: their times, and their rows."""

from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import (
    DAY,
    START,
    buckets,
    every_kind,
)

from usage_async import (
    UsageRow,
    UsageTimeBucket,
)
from usage_async._api.fields import fields_of


def test_a_bucket_tells_its_times_as_aware_datetimes():
    bucket = UsageTimeBucket(start_time=START, end_time=START + DAY)
    assert bucket.start == datetime(2024, 11, 1, tzinfo=UTC)
    assert bucket.end == datetime(2024, 11, 2, tzinfo=UTC)
    assert bucket.results == bucket.other_results == ()


@pytest.mark.parametrize(
    ("now", "after", "settled"),
    [
        pytest.param(timedelta(days=4), None, True, id="three days after its end"),
        pytest.param(timedelta(days=4, seconds=-1), None, False, id="a second before that"),
        pytest.param(timedelta(days=1), timedelta(), True, id="at its end, if that will do"),
        pytest.param(timedelta(days=8), timedelta(days=9), False, id="later, if told to wait"),
    ],
)
def test_a_bucket_is_settled_some_time_after_its_end(now, after, settled):
    bucket = UsageTimeBucket(start_time=START, end_time=START + DAY)
    more = {} if after is None else {"after": after}
    assert bucket.is_settled(bucket.start + now, **more) is settled


def test_undocumented_times_do_not_make_buckets_different():
    plain = UsageTimeBucket(start_time=START, end_time=START + DAY)
    said = attrs.evolve(plain, start_time_iso="2024-11-01", end_time_iso="nonsense")
    assert said == plain
    assert hash(said) == hash(plain)
    assert "nonsense" not in repr(said)


@every_kind
@given(data=st.data())
def test_rows_carry_everything_of_every_result(kind, data):
    bucket = data.draw(buckets(kind))
    results = (*bucket.results, *bucket.other_results)
    for row, result in zip(bucket.rows(), results, strict=True):
        assert (row.start_time, row.end_time) == (bucket.start_time, bucket.end_time)
        fields = {a.name: getattr(result, a.name) for a in fields_of(type(result))}
        amount = fields.pop("amount", None)
        if amount is not None and amount.extra:
            fields["extra"] = {**result.extra, "amount": amount.extra}
        told = {name: getattr(row, name) for name in fields}
        assert told == fields
        assert row.amount == (amount and amount.value)
        assert row.currency == (amount and amount.currency)
        others = {a.name for a in fields_of(UsageRow)} - fields.keys()
        others -= {"start_time", "end_time", "amount", "currency"}
        assert {getattr(row, name) for name in others} <= {None}
