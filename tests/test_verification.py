"""Verification: its proofs, and the gaps and differences that it must not let pass."""

from datetime import UTC, datetime, timedelta

import attrs
import pytest
from values import DAY, paid, result_of, tokens

from usage_async import (
    IncompleteError,
    RangeUnavailableError,
    Runtime,
    UsageClient,
    UsageResponse,
    UsageTimeBucket,
    Verification,
    dumps,
)
from usage_async._query.windows import Window
from usage_async._sums.verification import RangeFigures
from usage_async.emulator import Emulator, Quirks

NOW = 100 * DAY
MIDDAY = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp())


def reading(*days, as_of=NOW):
    """A reading of buckets of a day each, given as `(day, rows)`."""
    made = RangeFigures(as_of)
    for day, rows in days:
        made.add(
            UsageTimeBucket(start_time=day * DAY, end_time=(day + 1) * DAY, results=tuple(rows))
        )
    return made


def differing(one, other):
    return result_of(one.differing(other))


@pytest.mark.parametrize(
    ("groups", "whole", "agree"),
    [
        pytest.param([tokens(1), tokens(2)], [tokens(3)], False, id="requests differ"),
        pytest.param([tokens(3)], [tokens(3)], True, id="equal"),
        pytest.param([], [], True, id="quiet on both sides"),
        pytest.param([], [tokens(3)], False, id="the groups are gone"),
        pytest.param([tokens(3)], [], False, id="the whole is gone"),
        pytest.param([paid("0")], [], True, id="nothing was billed, and says so or not"),
        pytest.param([paid("0.1"), paid("0.2")], [paid("0.3")], True, id="money adds up"),
        pytest.param([paid("0.1")], [paid("0.1", "eur")], False, id="another currency"),
        pytest.param(
            [paid("0.1"), paid("1", "eur")], [paid("0.1")], False, id="a currency is gone"
        ),
        pytest.param(
            [tokens(3)], [tokens(3, input_cached_tokens=2)], True, id="one leaves a metric out"
        ),
        pytest.param(
            [tokens(3, input_cached_tokens=1)],
            [tokens(3, input_cached_tokens=2)],
            False,
            id="an optional metric differs",
        ),
    ],
)
def test_groups_have_to_add_up_to_the_whole(groups, whole, agree):
    found = differing(reading((1, groups)), reading((1, whole)))
    assert found == (() if agree else (DAY,))


def test_a_bucket_that_only_one_reading_has_differs():
    assert differing(reading((1, []), (2, [])), reading((1, []))) == (2 * DAY,)


def test_a_long_comparison_leaves_the_event_loop_its_turns():
    one = reading(*((day, []) for day in range(20)), as_of=10**9)
    one.figures = {start: {} for start in range(20_000)}
    assert sum(1 for _ in one.differing(one)) == 4


def test_what_ended_less_than_three_days_ago_is_not_compared():
    made = reading((96, [tokens(1)]), (97, [tokens(1)]))
    assert made.unsettled == [97 * DAY]
    assert differing(made, reading((96, [tokens(1)]))) == ()


def test_what_is_over_has_to_have_come():
    made = reading((95, []), (99, []), as_of=NOW + 5)
    assert made.missing(Window(95 * DAY, 101 * DAY, DAY)) == (96 * DAY, 97 * DAY, 98 * DAY)
    assert made.missing(Window(95 * DAY, 101 * DAY, None)) == ()


def test_nothing_checked_is_never_whole():
    verification = Verification(checked=(), unsettled=(1, 2), missing=(), differing=())
    assert not verification.ok
    with pytest.raises(IncompleteError, match="nothing was checked: 2 buckets may still be"):
        verification.raise_if_incomplete()


def test_an_incomplete_result_raises_with_its_starts():
    verification = Verification(checked=(), unsettled=(), missing=(1,), differing=(2, 3))
    with pytest.raises(IncompleteError, match="1 buckets are missing and the groups of 2") as error:
        verification.raise_if_incomplete()
    assert (error.value.missing, error.value.differing) == ((1,), (2, 3))


def emulator(**quirks):
    return Emulator(now=lambda: MIDDAY, quirks=Quirks(**quirks))


async def verify(server, *, strict=False, **params):
    runtime = Runtime(now=lambda: MIDDAY)
    async with UsageClient(server.admin_key, base_url=server.url, runtime=runtime) as client:
        return await client.completions(**params).verify(strict=strict)


async def test_what_the_service_sends_is_proven():
    async with emulator() as server:
        proven = await verify(server, strict=True, start_time="2026-11-01", group_by=["model"])
        assert (len(proven.checked), len(proven.unsettled)) == (17, 4)
        assert (proven.missing, proven.differing) == ((), ())


async def test_without_groups_only_completeness_is_proven():
    async with emulator() as server:
        proven = await verify(server, period="2026-10")
        assert len(proven.checked) == 31
        assert len(server.requests) == 1


async def test_a_proof_says_what_it_compared():
    async with emulator() as server:
        assert (await verify(server, period="2026-10")).compared == ()
        grouped = await verify(server, period="2026-10", group_by=["model", "batch"])
        assert grouped.compared == ("model", "batch")


async def test_a_proof_of_a_range_until_now_warns_of_nothing(caplog):
    async with emulator() as server:
        runtime = Runtime(now=lambda: MIDDAY)
        async with UsageClient(server.admin_key, base_url=server.url, runtime=runtime) as client:
            assert (await client.completions(period="7d", group_by=["model"]).verify()).ok
    assert not caplog.records


async def test_a_period_with_nothing_settled_is_not_whole():
    async with emulator() as server:
        proven = await verify(server, period="2026-11-20", group_by=["model"])
        assert (proven.checked, proven.ok) == ((), False)
        assert len(proven.unsettled) == 1


async def test_the_caller_says_when_figures_have_settled():
    async with emulator() as server:
        client = UsageClient(server.admin_key, base_url=server.url, settle_after=timedelta(hours=1))
        async with client:
            query = client.completions(period="2026-11-20", group_by=["model"])
            proven = await query.verify(strict=True)
            summary = await query.summary()
    assert len(proven.checked) == 1
    assert summary.settled_through == datetime(2026, 11, 21, tzinfo=UTC)
    assert not summary.notices


async def test_a_missing_bucket_is_found():
    async with emulator(missing_buckets=2) as server:
        proven = await verify(server, period="2026-10", bucket_width="1h")
        assert proven.missing
        assert not proven.ok
        with pytest.raises(IncompleteError):
            await verify(server, strict=True, period="2026-10", bucket_width="1h")


async def test_a_clamped_range_is_proven_from_where_it_begins():
    async with emulator() as server:
        proven = await verify(server, start_time="2025-06-01", clamp=True)
        assert proven.ok
        with pytest.raises(RangeUnavailableError):
            await verify(server, start_time="2025-06-01")


async def test_groups_whose_history_begins_later_are_compared_from_there():
    """Costs by API key begin at a floor; without groups the history goes further back."""
    floor = datetime(2025, 12, 6, tzinfo=UTC)
    async with (
        emulator() as server,
        UsageClient(server.admin_key, base_url=server.url) as client,
    ):
        query = client.costs(
            start_time="2025-12-01", end_time="2025-12-20", group_by=["api_key_id"], clamp=True
        )
        proven = await query.verify(strict=True)
    assert proven.checked[0] == floor.timestamp()
    assert len(proven.checked) == 14


async def test_a_range_before_all_history_has_nothing_to_prove():
    async with (
        emulator() as server,
        UsageClient(server.admin_key, base_url=server.url) as client,
    ):
        query = client.costs(
            start_time="2025-01-01", end_time="2025-01-20", group_by=["line_item"], clamp=True
        )
        assert (await query.verify()).checked == ()


async def test_what_cannot_be_compared_is_not_called_whole():
    async with UsageClient("sk-admin-x", base_url="http://127.0.0.1:9/v1") as client:
        with pytest.raises(IncompleteError, match="unknown kind"):
            await client.query("/organization/usage/new", period="7d").verify()
    others = UsageTimeBucket(start_time=0, end_time=DAY, other_results=(tokens(1),))
    with pytest.raises(IncompleteError, match="another kind"):
        RangeFigures(NOW).add(others)


@pytest.mark.parametrize(
    ("revisions", "differing"),
    [
        pytest.param(1, (), id="revised between the two readings"),
        pytest.param(2, (DAY,), id="never adds up"),
    ],
)
async def test_what_differs_is_read_again_before_it_is_told(revisions, differing):
    """The groups of day 1 are short of a token, in as many readings as `revisions` says."""
    asked = []

    async def transport(path, params, headers):
        first, end = int(dict(params)["start_time"]), int(dict(params)["end_time"])
        grouped = ("group_by", "model") in params
        asked.append((grouped, first, end))
        short = grouped and sum(was_grouped for was_grouped, *_ in asked) <= revisions
        data = tuple(
            UsageTimeBucket(
                start_time=start,
                end_time=start + DAY,
                results=(tokens(9 if short and start == DAY else 10),),
            )
            for start in range(first, end, DAY)
        )
        return 200, {}, dumps(UsageResponse(data=data, has_more=False))

    async with UsageClient(transport=transport, runtime=Runtime(now=lambda: NOW)) as client:
        query = client.completions(start_time=0, end_time=5 * DAY, group_by=["model"])
        assert (await query.verify()).differing == differing
    assert asked == [
        (True, 0, 5 * DAY),
        (False, 0, 5 * DAY),
        (True, DAY, 2 * DAY),
        (False, DAY, 2 * DAY),
    ]


class BendingService:
    """A service of five days that bends its grouped readings.

    Args:
        bend: Gives what is sent in place of a bucket, or None, from: the bucket, whether the
            reading is grouped, its number, and the `end_time` that was sent.
    """

    def __init__(self, bend):
        self.bend = bend
        self.readings = 0

    async def __call__(self, path, params, headers):
        first, end = int(dict(params)["start_time"]), int(dict(params)["end_time"])
        grouped = ("group_by", "model") in params
        self.readings += grouped
        whole = (
            UsageTimeBucket(start_time=start, end_time=start + DAY, results=(tokens(10),))
            for start in range(first, end, DAY)
        )
        sent = (self.bend(bucket, grouped, self.readings, end) for bucket in whole)
        page = UsageResponse(data=tuple(filter(None, sent)), has_more=False)
        return 200, {}, dumps(page)

    async def verify(self):
        async with UsageClient(transport=self, runtime=Runtime(now=lambda: NOW)) as client:
            query = client.completions(start_time=0, end_time=5 * DAY, group_by=["model"])
            return await query.verify()


async def test_a_group_that_is_short_stays_found_though_a_reading_of_a_second_agrees():
    """A service that cuts figures at `end_time` shows nothing but zeros for a second of a day."""

    def bend(bucket, grouped, number, end):
        if end < bucket.end_time:
            return attrs.evolve(bucket, results=(tokens(0),))
        short = grouped and bucket.start_time == DAY
        return attrs.evolve(bucket, results=(tokens(9),)) if short else bucket

    proven = await BendingService(bend).verify()
    assert (proven.differing, proven.ok) == ((DAY,), False)


async def test_a_bucket_that_is_absent_when_it_is_looked_at_again_is_not_cleared():
    def bend(bucket, grouped, number, end):
        is_absent = bucket.start_time == DAY and (grouped or number == 2)
        return None if is_absent else bucket

    proven = await BendingService(bend).verify()
    assert (proven.missing, proven.differing) == ((DAY,), (DAY,))


async def test_a_history_that_moves_on_before_the_second_look_clears_nothing():
    def bend(bucket, grouped, number, end):
        return attrs.evolve(bucket, results=()) if grouped else bucket

    service = BendingService(bend)

    async def moving(path, params, headers):
        if service.readings == 1 and ("group_by", "model") in params:
            service.readings += 1
            message = f"Only available for start_time >= {99 * DAY}."
            error = {"message": message, "param": "start_time"}
            return 400, {}, dumps({"error": error})
        return await service(path, params, headers)

    async with UsageClient(transport=moving, runtime=Runtime(now=lambda: NOW)) as client:
        query = client.completions(start_time=0, end_time=5 * DAY, group_by=["model"], clamp=True)
        assert len((await query.verify()).differing) == 5
