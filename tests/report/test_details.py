"""Details of a report: parts of days, models, kinds of tokens, the usage before."""

from datetime import timedelta
from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_async import Runtime, UsageClient, UsageCompletionsResult, UsageEmbeddingsResult
from usage_async.report.amounts import total
from usage_async.report.compute import compute_report
from usage_async.report.details import MOST_STACKS, counting
from usage_async.report.reading import query_count, read_sections
from usage_async.report.spec import ReportSpec, report_spec
from usage_async.report.values import Blank, Section, Tokens

from .conftest import BEFORE, NOW, PERIOD, START, cost, report_of, section

DAYS = st.lists(
    st.lists(
        st.builds(
            cost,
            st.decimals(-(10**9), 10**9, places=20).map(str),
            st.sampled_from(["usd", "eur"]),
            project_id=st.none() | st.integers(0, 9).map("p{}".format),
        ),
        max_size=12,
    ),
    min_size=1,
    max_size=3,
)


@given(DAYS, DAYS)
def test_the_parts_of_a_day_are_its_amount(whole, parts):
    shown = report_of(costs=section(*whole), costs_by=section(*parts))
    for spend in shown.spends:
        assert len([stack for stack in spend.stacks if stack.id is not None]) <= MOST_STACKS
        for place, (_, amount) in enumerate(spend.days):
            assert total(stack.amounts[place] for stack in spend.stacks) == amount
        assert all(any(stack.amounts) for stack in spend.stacks)


def test_the_others_and_what_is_not_attributed_are_parts_of_their_own():
    rows = [cost(str(20 - n), project_id=f"p{n}") for n in range(MOST_STACKS + 2)]
    (spend,) = report_of(costs=section([*rows, cost("1")]), costs_by=section(rows)).spends
    names = [f"p{n}" for n in range(MOST_STACKS)]
    assert [(stack.id, stack.others) for stack in spend.stacks] == [
        *((name, 0) for name in names),
        (None, 2),
        (None, 0),
    ]
    assert [stack.amounts[0] for stack in spend.stacks[-2:]] == [27, 1]


def test_a_day_that_did_not_come_has_no_parts():
    days = attrs.evolve(section([cost("1")]), missing=(START + 86400,))
    by = section([cost("1", project_id="p")], [cost("9", project_id="p")])
    (spend,) = report_of(costs=days, costs_by=by).spends
    assert [stack.amounts for stack in spend.stacks] == [(Decimal(1), None, Decimal(0))]


def used(**fields):
    return UsageCompletionsResult(**{"num_model_requests": 1, "output_tokens": 0, **fields})


def test_the_kinds_of_input_are_all_input():
    row = used(
        input_tokens=100,
        input_cached_tokens=30,
        input_cache_write_tokens=20,
        input_text_tokens=40,
        input_audio_tokens=4,
        input_cached_text_tokens=30,
        output_tokens=7,
    )
    embedded = UsageEmbeddingsResult(input_tokens=5, num_model_requests=1)
    kinds = report_of(
        usage={"completions": section([row]), "embeddings": section([embedded])}
    ).kinds
    assert [(kind.kind, kind.tokens) for kind in kinds] == [
        ("uncached input", 55),
        ("cached input", 30),
        ("cache writes", 20),
        ("output", 7),
    ]
    assert dict(kinds[0].by_modality) == {"text": 40, "audio": 4, "image": 0, "not told": 11}
    assert dict(kinds[1].by_modality) == {"text": 30, "audio": 0, "image": 0}
    assert kinds[2].by_modality == kinds[3].by_modality == ()


def test_without_tokens_there_are_no_kinds():
    assert report_of().kinds == ()


SPEC = ReportSpec("project_id", PERIOD, NOW, BEFORE, detailed=True)


def sections_of(costs_by_model=None, **more):
    """Sections of a detailed report of one project and one model."""
    use = used(input_tokens=5, project_id="p", model="gpt-5")
    usage = {each.name: section([], [], []) for each in counting()}
    before = {
        **usage,
        "completions": section([used(input_tokens=3)], [], [], start=BEFORE.start_time),
    }
    rows = [cost("3", line_item="gpt-5, input"), cost("1", line_item="storage")]
    made = report_sections(
        costs=section([cost("5")], [], []),
        costs_by=section([cost("5", project_id="p")], [], []),
        costs_by_model=costs_by_model or section(rows, [], []),
        usage={**usage, "completions": section([use], [], [])},
        usage_before=before,
    )
    return attrs.evolve(made, **more)


def report_sections(usage, **more):
    from usage_async import ENDPOINTS
    from usage_async.report.values import Sections

    every = {name: section([], [], []) for name in ENDPOINTS if name != "costs"}
    return Sections(usage={**every, **usage}, **more)


def test_models_are_the_bill_and_have_their_requests():
    report = compute_report(SPEC, sections_of())
    (spend,) = report.spends
    assert [(model.id, model.amount, model.requests) for model in spend.models] == [
        ("gpt-5", 3, 1),
        ("storage", 1, None),
        (None, 1, None),
    ]
    assert report.models == (Tokens(id="gpt-5", requests=1, input=5),)


@pytest.mark.parametrize(
    "section_of_models",
    [
        attrs.evolve(section([cost("3", line_item="gpt-5, input")], [], []), known_from=START),
        attrs.evolve(section([cost("3", line_item="gpt-5, input")]), missing=(START + 86400,)),
    ],
    ids=["known later", "a gap"],
)
def test_a_model_has_no_rate_where_its_days_and_its_requests_differ(section_of_models):
    (spend,) = compute_report(SPEC, sections_of(section_of_models)).spends
    assert [model.requests for model in spend.models] == [None, None]


def test_a_split_by_model_that_is_refused_is_told_and_lacks_nothing_that_was_asked_for():
    refused = Section(blank=Blank("refused", "no"))
    report = compute_report(SPEC, sections_of(refused))
    assert report.spends[0].models == ()
    assert ("spend by model", refused.blank) in report.blanks
    assert report.is_whole


def test_models_of_a_report_by_line_item_come_of_the_same_rows():
    rows = [cost("3", line_item="gpt-5, input"), cost("2", line_item="gpt-5, output")]
    spec = attrs.evolve(SPEC, by="line_item")
    parts = sections_of(costs_by=section(rows, [], []))
    (spend,) = compute_report(spec, attrs.evolve(parts, costs_by_model=None)).spends
    assert [(model.id, model.amount) for model in spend.models] == [("gpt-5", 5)]


def test_the_usage_before_is_known_where_both_are_whole():
    assert compute_report(SPEC, sections_of()).used_before == Tokens(id=None, requests=1, input=3)
    known = sections_of().usage_before
    for wrong in (
        Section(blank=Blank("refused", "no")),
        attrs.evolve(section(), missing=(BEFORE.start_time,)),
    ):
        parts = sections_of(usage_before={**known, "images": wrong})
        assert compute_report(SPEC, parts).used_before is None
    assert report_of().used_before is None


@pytest.mark.parametrize(
    "by", ["project", "model", "api-key,line-item", "project,line-item", "api-key,project"]
)
@pytest.mark.parametrize("compare", [False, True])
async def test_a_detailed_report_reads_models_and_the_usage_before(by, compare):
    asked = []

    async def transport(path, params, headers):
        asked.append((path.rpartition("/")[2], dict(params), params))
        return 200, {}, b'{"object":"page","data":[],"has_more":false,"next_page":null}'

    spec = report_spec(NOW, by=by, period="2026-09", compare=compare, detailed=True)
    runtime = Runtime(now=lambda: NOW)
    async with UsageClient("k" * 20, transport=transport, runtime=runtime) as client:
        advanced = []
        await read_sections(client, spec, lambda: advanced.append(1))
    assert len(advanced) == query_count(spec) == len({str(each) for each in asked})
    groups = [
        tuple(value for key, value in params if key.startswith("group_by"))
        for name, _, params in asked
        if name == "completions"
    ]
    assert any("model" in group for group in groups)
    assert len(groups) == 1 + compare
    items = [params for name, _, params in asked if name == "costs" and "line_item" in str(params)]
    # The bill by model; then groups, and the lines of an explanation, of one period or of two.
    by_model = "model" not in by and "line-item" not in by
    grouped = 0 if by_model else 1 + compare
    explained = 0 if by == "project,line-item" else 2 * compare
    assert len(items) == by_model + grouped + explained
    assert timedelta(seconds=spec.period.end_time - spec.period.start_time).days == 30
