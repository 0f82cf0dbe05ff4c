"""The table of endpoints: it says what the specification says, and all else derives from it."""

import copy
import inspect
import pickle
import pydoc
import sys
import typing

import attrs
import pytest
from values import NAMES, SPEC, SPEC_FILE, START, decoded, one_bucket, one_page

import usage_async
from usage_async import ENDPOINTS, UnknownResult, UsageClient, UsageQuery, loads
from usage_async._api.endpoints import (
    DEFAULT_LIMITS,
    WIDTH_SECONDS,
    Endpoint,
    Filter,
    UsageCompletionsParams,
    unknown_endpoint,
)
from usage_async._api.fields import described, fields_of
from usage_async._api.pages import UsageResponse
from usage_async._api.results import UsageResult
from usage_async._cli.dispatch import run_command
from usage_async._cli.options import QueryArguments, endpoint_app
from usage_async._codec.tolerant import result_classes
from usage_async._query.request import build
from usage_async.emulator import Emulator

every_endpoint = pytest.mark.parametrize("name", NAMES)


def test_the_table_has_the_endpoints_of_the_specification():
    assert set(ENDPOINTS) == set(SPEC["endpoints"])


@pytest.mark.parametrize(
    "endpoint", [*ENDPOINTS.values(), unknown_endpoint("/organization/usage/new")]
)
def test_an_endpoint_is_pickled_by_its_name(endpoint):
    written = pickle.dumps(endpoint)
    assert pickle.loads(written) is endpoint
    assert len(written) < 150
    assert copy.deepcopy(endpoint) is endpoint


def test_an_endpoint_that_is_not_in_the_table_is_not_pickled():
    endpoint = attrs.evolve(ENDPOINTS["costs"])
    with pytest.raises(TypeError, match="'costs' cannot be pickled"):
        pickle.dumps(endpoint)


@every_endpoint
def test_an_endpoint_is_what_the_specification_says(name):
    want, endpoint = SPEC["endpoints"][name], ENDPOINTS[name]
    params = want["params"]
    common = {"start_time", "end_time", "bucket_width", "limit", "page", "group_by"}
    assert endpoint.name == name
    assert endpoint.path == want["path"]
    assert endpoint.object == want["object"]
    assert endpoint.result_class.__name__ == want["result_class"]
    assert list(endpoint.group_by) == params["group_by"]["enum"], SPEC_FILE
    assert set(endpoint.filters) == set(params) - common, SPEC_FILE
    assert endpoint.bucket_widths == tuple(params["bucket_width"]["enum"])
    limits = {width: cap["max"] for width, cap in want["limits"].items()}
    assert dict(endpoint.limits) == limits, SPEC_FILE
    for width, cap in want["limits"].items():
        assert DEFAULT_LIMITS[width] == cap["default"]
    for parameter, what in endpoint.filters.items():
        assert what.type is (bool if params[parameter]["type"] == "boolean" else str)
        enum = params[parameter].get("enum", [])
        assert [*what.choices] == enum + ["1792x1024"] * (parameter == "sizes")
        assert what.is_open is bool(enum)
        assert what.dimension == parameter.removesuffix("s")


@every_endpoint
def test_the_parameters_of_an_endpoint_are_public_and_named_as_its_results(name):
    endpoint = ENDPOINTS[name]
    public = endpoint.result_class.__name__.replace("Result", "Params")
    assert getattr(usage_async, public) is endpoint.params
    assert endpoint.params.__doc__ == f"Parameters of `{name}`."


@every_endpoint
def test_the_method_of_an_endpoint_shows_its_parameters(name):
    endpoint, method = ENDPOINTS[name], getattr(UsageClient, name)
    shown = inspect.signature(method)
    params = dict(shown.parameters)
    assert params.pop("self").kind is inspect.Parameter.POSITIONAL_ONLY
    assert {p.kind for p in params.values()} == {inspect.Parameter.KEYWORD_ONLY}
    hints = typing.get_type_hints(endpoint.params)
    assert {p.name: p.annotation for p in params.values()} == hints
    assert shown.return_annotation == UsageQuery[endpoint.result_class]
    client = UsageClient(transport=lambda *_: None)
    assert "self" not in inspect.signature(getattr(client, name)).parameters
    # What is shown as a default is what leaving the parameter out means.
    defaults = {p.name: p.default for p in params.values()}
    assert build(name, {**defaults, "period": "7d"}) == build(name, {"period": "7d"})


@every_endpoint
def test_help_is_tidy(name):
    text = pydoc.plain(pydoc.render_doc(getattr(UsageClient, name)))
    assert all(f"\n    {parameter}: " in text for parameter in ENDPOINTS[name].filters)
    # From 3.13 on, pydoc lays signatures out by itself, with the modules of the types.
    short = text.replace("datetime.", "")
    assert "\n    start_time: int | str | datetime | date | timedelta = None,\n" in short
    if sys.version_info < (3, 13):
        assert short == text
        assert "usage_async._api.results" not in text
        assert "typing" not in text


def test_an_endpoint_says_what_is_derived_for_it():
    for name in ("object", "group_by", "filters"):
        assert f"\n    {name}: " in inspect.cleandoc(Endpoint.__doc__)


@every_endpoint
def test_a_result_has_the_fields_of_the_specification_with_their_types(name):
    endpoint = ENDPOINTS[name]
    hints = typing.get_type_hints(endpoint.result_class)
    fields = {a.name: a for a in fields_of(endpoint.result_class)}
    for field, want in SPEC["results"][endpoint.object].items():
        if field in ("object", "amount"):
            continue
        types = set(typing.get_args(hints[field])) or {hints[field]}
        kind = want["type"] if isinstance(want["type"], str) else "str"
        assert {"float": "Decimal"}.get(kind, kind) in {of.__name__ for of in types}
        assert want["required"] is (type(None) not in types)
        assert want["required"] is (fields[field].default is attrs.NOTHING)


@every_endpoint
def test_an_endpoint_ranks_by_a_metric_and_groups_by_dimensions_that_its_rows_have(name):
    endpoint = ENDPOINTS[name]
    kinds = {a.name: a.metadata["kind"] for a in fields_of(endpoint.result_class)}
    assert kinds[endpoint.measure] in ("flow", "level", "money")
    assert {kinds[dimension] for dimension in endpoint.group_by} == {"dimension"}
    for what in endpoint.filters.values():
        assert kinds[what.dimension] == "dimension"


@every_endpoint
async def test_the_client_has_a_method_of_that_name(name):
    async with UsageClient(transport=refuse) as client:
        query = getattr(client, name)(start_time=START)
        assert query == client.query(name, start_time=START)


async def refuse(*_):
    raise AssertionError


def test_the_table_cannot_be_changed_by_what_it_gives():
    endpoint = ENDPOINTS["completions"]
    with pytest.raises(TypeError):
        endpoint.filters["more"] = Filter("more", str)
    with pytest.raises(TypeError):
        endpoint.limits["1d"] = 1
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        endpoint.path = "/organization/other"


def test_a_width_is_so_many_seconds():
    assert WIDTH_SECONDS == {"1m": 60, "1h": 3600, "1d": 86400}


def test_of_an_unknown_endpoint_only_its_path_is_known():
    path = "/organization/usage/brand_new"
    endpoint = unknown_endpoint(path)
    assert (endpoint.name, endpoint.path) == (path, path)
    assert endpoint.result_class is UnknownResult
    assert (endpoint.group_by, dict(endpoint.filters), endpoint.bucket_widths) == ((), {}, ())
    assert unknown_endpoint(path) is endpoint


# A made-up endpoint: described in one place, found everywhere


@described
class UsageDreamsResult(UsageResult):
    """Dreams."""

    object: typing.Literal["organization.usage.dreams.result"] = "organization.usage.dreams.result"
    seconds: int
    project_id: str | None = None
    size: str | None = None


@pytest.fixture
def dreams(monkeypatch):
    """`dreams`: rows that count seconds, by project and size."""

    class DreamsParams(UsageCompletionsParams, total=False):
        sizes: typing.Sequence[typing.Literal["short", "long"]] | None
        group_by: typing.Sequence[typing.Literal["project_id", "size"]] | None

    endpoint = Endpoint(
        name="dreams",
        path="/organization/usage/dreams",
        result_class=UsageDreamsResult,
        params=DreamsParams,
        limits={"1h": 24, "1d": 7},
        measure="seconds",
    )
    monkeypatch.setitem(ENDPOINTS, "dreams", endpoint)
    return endpoint


def dream(**fields):
    return {"object": "organization.usage.dreams.result", "seconds": 3, **fields}


def test_a_new_endpoint_is_checked_before_a_request(dreams):
    query = build("dreams", {"start_time": START, "group_by": ["size"], "sizes": ["short"]})
    assert query.endpoint is dreams
    assert query.page_limit == 7
    assert ("sizes", "short") in query.params(START, START + 1, limit=None, page=None)
    assert build("/organization/usage/dreams", {"start_time": START}).endpoint is dreams


def test_the_rows_of_a_new_endpoint_are_read(dreams):
    assert result_classes()[dreams.object] is dreams.result_class
    body = one_page(one_bucket(dream(size="short")))
    for kind in (dreams.result_class, UsageResult):
        (bucket,) = loads(body, UsageResponse[kind]).data
        assert bucket.results == (dreams.result_class(seconds=3, size="short"),)
    assert decoded(body, dreams.result_class).page.data == (bucket,)


async def test_a_new_endpoint_is_asked_by_its_name_and_added_up(dreams):
    asked = []

    async def transport(path, params, headers):
        asked.append(path)
        rows = [dream(size="short"), dream(size="long", seconds=4)]
        return 200, {}, one_page(one_bucket(*rows))

    async with UsageClient(transport=transport) as client:
        query = client.query("dreams", period="2024-11-01", group_by=["size"])
        totals = await query.totals("size")
        assert [(row.size, row.seconds) for row in totals] == [("long", 4), ("short", 3)]
        assert (await query.total()).seconds == 7
        assert [row.seconds async for row in query.rows()] == [3, 4]
    assert asked == ["/organization/usage/dreams"] * 3


async def test_the_emulator_serves_a_new_endpoint(dreams):
    async with Emulator() as server, UsageClient(server.admin_key, base_url=server.url) as client:
        buckets = await client.query("dreams", period="yesterday", group_by=["size"]).collect()
    assert [request.path for request in server.requests] == ["/v1/organization/usage/dreams"]
    assert len(buckets) == 1
    assert not buckets[0].other_results
    assert all(isinstance(row, dreams.result_class) for row in buckets[0].results)


def test_the_terminal_offers_a_new_endpoint(dreams, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    run_command(["endpoints"])
    assert "dreams" in capsys.readouterr().out
    # Made here: the program's own commands live as long as the process.
    app = endpoint_app("ask", "Ask.", lambda asked, *_: asked, [], "dreams")
    app(["--help"], result_action="return_value")
    assert "dreams" in capsys.readouterr().out
    app(["dreams", "--help"], result_action="return_value")
    shown = capsys.readouterr().out
    assert "[choices: short, long]" in shown
    assert "project, size" in " ".join(shown.replace("│", "").split())
    assert "1h" in shown
    assert "1m" not in shown
    command, bound, ignored = app.parse_args(["dreams", "--period", "7d", "--sizes", "short"])
    assert command(*bound.args, **bound.kwargs, connection=None, context=None) == QueryArguments(
        "dreams", {"period": "7d", "sizes": ["short"]}
    )
    assert set(ignored) == {"context"}
