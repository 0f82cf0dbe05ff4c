"""Fields of results: each is described once, and its class documents it."""

from values import (
    every_kind,
)

from usage_async import (
    ENDPOINTS,
)
from usage_async._api.fields import FIELDS, fields_of


@every_kind
def test_every_field_is_documented_with_its_unit_and_how_it_adds_up(kind):
    for field in fields_of(kind):
        info = FIELDS[field.name]
        line = f"    {field.name}: {info.doc}"
        if info.unit:
            line += f" Unit: {info.unit}."
        if info.kind in ("flow", "level"):
            line += f" A {info.kind}."
        assert line in kind.__doc__.splitlines()
        assert field.metadata["kind"] == info.kind
        assert bool(info.unit) == (info.kind in ("flow", "level", "money", "quantity"))


def test_only_stored_bytes_are_a_level():
    assert [name for name, info in FIELDS.items() if info.kind == "level"] == ["usage_bytes"]


def test_every_dimension_can_be_grouped_by_somewhere():
    grouped = {name for endpoint in ENDPOINTS.values() for name in endpoint.group_by}
    assert {name for name, info in FIELDS.items() if info.kind == "dimension"} == grouped
