"""Generated functions that read and make rows."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import NAMES, START, rows

from usage_async import ENDPOINTS, CostsResult, UnknownResult, UsageImagesResult, UsageRow
from usage_async._api.codegen import make_maker, maker, reader
from usage_async._api.results import flat_rows


@pytest.mark.parametrize("names", [(), ("images",), ("size", "images")])
def test_a_reader_gives_a_tuple_of_any_length(names):
    row = UsageImagesResult(images=3, num_model_requests=1, size="a")
    assert reader(names)(row) == tuple(getattr(row, name) for name in names)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_what_is_made_equals_what_its_class_makes(name, data):
    row = data.draw(rows(ENDPOINTS[name].result_class))
    values = {a.name: getattr(row, a.name) for a in attrs.fields(type(row))}
    made = maker(type(row), tuple(values))(*values.values())
    assert type(made) is type(row)
    assert made == row
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.object = "other"


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_flat_row_has_what_its_result_has(name, data):
    row = data.draw(rows(ENDPOINTS[name].result_class))
    (flat,) = flat_rows([row], START, START + 60)
    assert type(flat) is UsageRow
    values = {a.name: getattr(row, a.name) for a in attrs.fields(type(row))}
    amount = values.pop("amount", None)
    if amount is not None:
        values |= {"amount": amount.value, "currency": amount.currency}
    if amount is not None and amount.extra:
        assert flat.extra == {**row.extra, "amount": amount.extra}
        values["extra"] = flat.extra
    assert flat == UsageRow(start_time=START, end_time=START + 60, **values)


@attrs.frozen(kw_only=True)
class TheirResult(CostsResult):
    more: int = 0


def test_a_class_of_a_callers_own_is_not_filled_and_no_field_is_dropped():
    with pytest.raises(TypeError, match="TheirResult"):
        maker(TheirResult, ("object",))
    with pytest.raises(TypeError, match="cannot be made from other"):
        make_maker(UnknownResult, {"other": "other"}, ["other"])
    with pytest.raises(TypeError, match="more"):
        flat_rows([TheirResult()], 0, 60)
