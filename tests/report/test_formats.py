import inspect

import pytest

from usage_async._codec.formats import WRITERS
from usage_async.report.formats import (
    BREAKDOWN_FORMATS,
    BUCKET_FORMATS,
    FOCUS_FORMATS,
    REPORT_FORMATS,
)

TABLES = {
    "report": REPORT_FORMATS,
    "breakdown": BREAKDOWN_FORMATS,
    "buckets": BUCKET_FORMATS,
    "focus": FOCUS_FORMATS,
}
FORMATS = [
    pytest.param(each, id=f"{table} {name}")
    for table, formats in TABLES.items()
    for name, each in formats.items()
]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_its_function_or_its_writer(form):
    if form.writer is None:
        assert inspect.isfunction(form.load()) or inspect.isclass(form.load())
    else:
        assert (form.renders, form.writer in WRITERS) == ("", True)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_that_is_not_drawn_has_endings_of_files(form):
    assert bool(form.endings) is not form.is_drawn


@pytest.mark.parametrize("table", TABLES)
def test_an_ending_means_one_format(table):
    endings = [ending for form in TABLES[table].values() for ending in form.endings]
    assert len(set(endings)) == len(endings)
    assert all(ending.startswith(".") and ending.islower() for ending in endings)


@pytest.mark.parametrize("formats", [REPORT_FORMATS, BREAKDOWN_FORMATS], ids=["report", "total"])
def test_every_format_of_figures_renders_several_organizations(formats):
    for form in formats.values():
        assert inspect.isfunction(form.load_many())
        assert form.load_many() is not form.load()
