"""Values under pydantic: written as `dumps` writes them, described as their classes are."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Generic, TypeVar

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError
from values import DAY, KINDS, PUBLIC, START, any_of, buckets, every_kind, name_of, paid, tokens

from usage_async import (
    CostsResult,
    Extra,
    Names,
    Notice,
    Project,
    Summary,
    TimeRange,
    UnknownResult,
    UsageCompletionsResult,
    UsageResult,
    UsageRow,
    UsageTimeBucket,
    UsageVectorStoresResult,
    dumps,
    loads,
)
from usage_async._api.fields import FIELDS, fields_of

LONG = Decimal("12345678901234567890.123456789012345678")
"""38 digits."""

VALUES = [cls for cls in PUBLIC if cls is not Extra]


def parsed(text):
    """JSON with exact numbers."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def alike(one, other):
    """Tell if two JSON values are equal but for numbers that one has as text."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, str) and isinstance(other, Decimal):
        return Decimal(one) == other
    return one == other


@pytest.mark.parametrize("cls", VALUES, ids=name_of)
@given(data=st.data())
def test_a_value_is_written_as_dumps_writes_it(cls, data):
    value = data.draw(any_of(cls))
    written = TypeAdapter(cls).dump_json(value)
    assert alike(parsed(written), parsed(dumps(value)))


@every_kind
@given(data=st.data())
def test_what_was_written_is_read_again(kind, data):
    bucket = data.draw(buckets(kind).filter(lambda bucket: not has_extra(bucket)))
    cls = UsageTimeBucket[kind]
    assert loads(TypeAdapter(cls).dump_json(bucket), cls) == bucket


def has_extra(bucket):
    rows = (*bucket.results, *bucket.other_results)
    amounts = [getattr(row, "amount", None) for row in rows]
    return any(each.extra for each in (bucket, *rows, *filter(None, amounts)))


@pytest.mark.parametrize("cls", VALUES, ids=name_of)
@pytest.mark.parametrize("mode", ["serialization", "validation"])
def test_every_value_has_a_schema(cls, mode):
    schema = TypeAdapter(cls).json_schema(mode=mode)
    assert schema["type"] == "object"
    assert schema["description"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_fields_are_described_with_their_units(kind):
    properties = TypeAdapter(kind).json_schema()["properties"]
    for attribute in fields_of(kind):
        if attribute.name != "extra":
            assert FIELDS[attribute.name].doc in properties[attribute.name]["description"]
            assert properties[attribute.name].get("x-unit", "") == FIELDS[attribute.name].unit


def test_money_is_a_string_and_unknown_fields_stand_beside_the_known_ones():
    schema = TypeAdapter(CostsResult).json_schema()
    amount = schema["$defs"]["CostsResultAmount"]
    assert amount["properties"]["value"]["type"] == "string"
    assert schema["additionalProperties"] is True


def test_rows_of_a_bucket_may_be_of_other_kinds():
    items = TypeAdapter(UsageTimeBucket[CostsResult]).json_schema()["properties"]["results"]
    names = [each["$ref"].rpartition("/")[2] for each in items["items"]["anyOf"]]
    assert names == ["CostsResult", "UsageResult"]


def test_a_bare_generic_class_holds_any_results():
    bucket = UsageTimeBucket(start_time=START, end_time=START + DAY, results=(paid("1.5"),))
    written = json.loads(TypeAdapter(UsageTimeBucket).dump_json(bucket))
    assert written["results"][0]["amount"]["value"] == "1.5"


R = TypeVar("R", bound=UsageResult)


class Found(BaseModel, Generic[R]):
    """A generic model of the application."""

    buckets: list[UsageTimeBucket[R]]


def test_a_generic_model_may_hold_generic_values():
    assert "UsageTimeBucket_UsageResult_" in Found.model_json_schema()["$defs"]
    assert "UsageTimeBucket_CostsResult_" in Found[CostsResult].model_json_schema()["$defs"]


@pytest.mark.parametrize("row", [paid("2"), UnknownResult(object="x", extra=Extra({"a": 1}))])
def test_a_row_of_any_kind_is_written_as_its_own_kind(row):
    written = json.loads(TypeAdapter(UsageResult).dump_json(row))
    assert written == json.loads(dumps(row))


@pytest.mark.parametrize(
    ("number", "written"),
    [
        ("0.5", 0.5),
        ("7", 7.0),
        ("0.1234567890123456789", "0.1234567890123456789"),
        ("1e999", "1E+999"),
    ],
)
def test_a_number_of_an_unknown_field_that_no_float_holds_is_a_string(number, written):
    row = tokens(1, extra=Extra({"new": [Decimal(number)]}))
    assert json.loads(TypeAdapter(UsageResult).dump_json(row))["new"] == [written]


def test_an_unknown_field_cannot_hide_a_known_one():
    with pytest.raises(Exception, match="input_tokens"):
        TypeAdapter(UsageResult).dump_json(tokens(1, extra=Extra({"input_tokens": 2})))


def test_the_unknown_fields_of_a_flat_row_stand_apart():
    row = UsageRow(start_time=0, end_time=1, object="x", extra=Extra({"images": 3}))
    written = json.loads(TypeAdapter(UsageRow).dump_json(row))
    assert (written["images"], written["extra"]) == (None, {"images": 3})


def test_an_instance_passes_and_anything_else_is_refused():
    row = paid("1")
    assert TypeAdapter(CostsResult).validate_python(row) is row
    assert TypeAdapter(list[CostsResult]).dump_python([row]) == [row]
    for wrong in (tokens(1), {"object": "organization.costs.result"}, None):
        with pytest.raises(ValidationError, match="CostsResult"):
            TypeAdapter(CostsResult).validate_python(wrong)


def test_json_is_not_read_by_pydantic():
    text = TypeAdapter(CostsResult).dump_json(paid("1"))
    with pytest.raises(ValidationError, match=r"usage_async\.loads"):
        TypeAdapter(CostsResult).validate_json(text)


class Answer(BaseModel):
    """A model of the application, with values of ours among its fields."""

    spent: CostsResult | None
    by_name: dict[str, UsageCompletionsResult]


def test_values_are_fields_of_models():
    answer = Answer(spent=paid("0.10"), by_name={"a": tokens(3)})
    written = json.loads(answer.model_dump_json())
    assert written["spent"]["amount"]["value"] == "0.1"
    assert written["by_name"]["a"]["input_tokens"] == 3
    assert {"CostsResult", "UsageCompletionsResult"} <= Answer.model_json_schema()["$defs"].keys()


SUMMARY = Summary(
    total=paid(str(LONG)),
    groups=[paid(str(LONG), project_id="proj_a")],
    requested=TimeRange(START, START + DAY),
    covered=None,
    settled_through=None,
    as_of=datetime.fromtimestamp(START, UTC),
    notices=(Notice(code="unsettled", message="x"),),
)
BUCKET = UsageTimeBucket[CostsResult](start_time=0, end_time=DAY, results=(paid(str(LONG)),))
NAMES = Names(projects=[Project(id="proj_a", name="Search")])
STORED = UsageVectorStoresResult(usage_bytes=2**63)

app = FastAPI()


@app.get("/costs")
async def costs() -> list[CostsResult]:
    return [paid(str(LONG))]


@app.get("/buckets")
async def bucket_list() -> list[UsageTimeBucket[CostsResult]]:
    return [BUCKET]


@app.get("/summary")
async def summary() -> Summary[CostsResult]:
    return SUMMARY


@app.get("/names")
async def names() -> Names:
    return NAMES


@app.get("/stored")
async def stored() -> UsageVectorStoresResult | None:
    return STORED


@pytest.mark.parametrize(
    ("path", "cls", "value"),
    [
        ("/costs", None, [paid(str(LONG))]),
        ("/buckets", None, [BUCKET]),
        ("/summary", Summary[CostsResult], SUMMARY),
        ("/names", Names, NAMES),
        ("/stored", UsageVectorStoresResult, STORED),
    ],
)
async def test_a_handler_returns_a_value_as_it_is(path, cls, value):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as browser:
        reply = await browser.get(path)
    assert reply.status_code == 200
    if cls is None:
        assert [loads(json.dumps(each), type(value[0])) for each in reply.json()] == value
    else:
        assert loads(reply.content, cls) == value


def test_openapi_names_the_values_and_their_units():
    schemas = app.openapi()["components"]["schemas"]
    assert {"CostsResult", "Summary_CostsResult_", "Names"} <= schemas.keys()
    assert schemas["UsageVectorStoresResult"]["properties"]["usage_bytes"]["x-unit"] == "bytes"


def test_pydantic_is_imported_only_by_who_uses_it():
    code = """if True:
        import sys, usage_async
        from usage_async import *
        usage_async.dumps(CostsResult())
        assert not any(name.startswith("pydantic") for name in sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code
