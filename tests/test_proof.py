"""What verify() proves, and what it must not let pass."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from usage_async import (
    CostsResult,
    CostsResultAmount,
    IncompleteError,
    RangeUnavailableError,
    Runtime,
    UsageClient,
    UsageCompletionsResult,
    UsageResponse,
    UsageTimeBucket,
    Verification,
    dumps,
)
from usage_async._plan import Window
from usage_async._proof import Reading
from usage_async.emulator import Emulator, Quirks

DAY = 86_400
NOW = 100 * DAY
MIDDAY = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp())


def reading(*days, as_of=NOW):
    """A reading of buckets of a day each, given as `(day, rows)`."""
    made = Reading(as_of)
    for day, rows in days:
        made.add(
            UsageTimeBucket(start_time=day * DAY, end_time=(day + 1) * DAY, results=tuple(rows))
        )
    return made


def tokens(count, **more):
    return UsageCompletionsResult(input_tokens=count, output_tokens=0, num_model_requests=1, **more)


def cost(value, currency="usd"):
    return CostsResult(amount=CostsResultAmount(value=Decimal(value), currency=currency))


@pytest.mark.parametrize(
    ("groups", "whole", "agree"),
    [
        pytest.param([tokens(1), tokens(2)], [tokens(3)], False, id="requests differ"),
        pytest.param([tokens(3)], [tokens(3)], True, id="equal"),
        pytest.param([], [], True, id="quiet on both sides"),
        pytest.param([], [tokens(3)], False, id="the groups are gone"),
        pytest.param([tokens(3)], [], False, id="the whole is gone"),
        pytest.param([cost("0")], [], True, id="nothing was billed, and says so or not"),
        pytest.param([cost("0.1"), cost("0.2")], [cost("0.3")], True, id="money adds up"),
        pytest.param([cost("0.1")], [cost("0.1", "eur")], False, id="another currency"),
        pytest.param(
            [cost("0.1"), cost("1", "eur")], [cost("0.1")], False, id="a currency is gone"
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
    differing = reading((1, groups)).differing(reading((1, whole)))
    assert differing == (() if agree else (DAY,))


def test_a_bucket_that_only_one_reading_has_differs():
    assert reading((1, []), (2, [])).differing(reading((1, []))) == (2 * DAY,)


def test_what_ended_less_than_three_days_ago_is_not_compared():
    made = reading((96, [tokens(1)]), (97, [tokens(1)]))
    assert made.unsettled == [97 * DAY]
    assert made.differing(reading((96, [tokens(1)]))) == ()


def test_what_is_over_has_to_have_come():
    made = reading((95, []), (99, []), as_of=NOW + 5)
    assert made.missing(Window(95 * DAY, 101 * DAY, DAY)) == (96 * DAY, 97 * DAY, 98 * DAY)
    assert made.missing(Window(95 * DAY, 101 * DAY, None)) == ()


def test_an_incomplete_result_raises_with_its_starts():
    verification = Verification(checked=(), unsettled=(), missing=(1,), differing=(2, 3))
    with pytest.raises(IncompleteError, match="1 buckets are missing and the groups of 2") as error:
        verification.raise_if_incomplete()
    assert (error.value.missing, error.value.differing) == ((1,), (2, 3))


def emulator(**quirks):
    return Emulator(now=lambda: MIDDAY, quirks=Quirks(**quirks))


async def verify(server, *, strict=False, **params):
    async with UsageClient(server.admin_key, base_url=server.url) as client:
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
        Reading(NOW).add(others)


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
