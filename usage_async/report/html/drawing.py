"""Drawing of charts as SVG. Run as a program, it reads a list of charts and writes their drawings.

It is a program of its own because vl-convert holds the GIL while it draws, and its engine takes
most of a second to start. It imports nothing of this package, so that it starts as soon as altair.

What vl-convert writes is not put onto a page as it is. `cleaned` makes a new drawing of the few
elements and attributes that the charts need: no style, link, script or id can be among them.
Colours become classes, which the page's style gives a colour for light and for dark.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import altair as alt
import vl_convert

SERIES = 8
"""The number of classes `s0` to `s7`."""
_DAY_MS = 86_400_000
_MARKERS = {
    **{f"#0000{n:02x}": f"s{n}" for n in range(SERIES)},
    "#000010": "hit",
    "#000011": "odd",
    "#000012": "track",
    "#000013": "lead",
}
"""Classes by the colours that stand for them while a chart is drawn."""
_COLOURS = {name: colour for colour, name in _MARKERS.items()}
_ROW = 44
"""Height of a bar with its label above it."""
_LABELS = 210
"""Width of the labels before the bars."""
_CHARACTER = 8
"""Width of a character of a figure, of 13 pixels; most are digits, which have 7 to 8."""
_SMALL = 10
"""Amounts from this one on need no decimal places on an axis."""

Values = dict[str, list[dict[str, Any]]]
"""Values of a chart's layers, by name."""


def drawn(chart: dict[str, Any]) -> str:
    """Draw a chart: one of `days`, or one of `bars`."""
    made, values = _days(chart) if chart["kind"] == "days" else _bars(chart)
    # Altair copies and hashes values that are given to it: half of its time.
    spec = {**made.to_dict(validate=False), "padding": 2, "datasets": values}
    # Values are at hand, so nothing may be loaded.
    text = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    return cleaned(text)


def _days(chart: dict[str, Any]) -> tuple[Any, Values]:
    """Stack the parts of days, or of weeks, whose bars stand above the middle of their time."""
    step = chart["step"] * _DAY_MS
    rows: list[dict[str, Any]] = []
    spots, hits = [], []
    for place, start in enumerate(chart["starts"]):
        middle = start * 1000 + (step - _DAY_MS) / 2
        reach = step * (0.5 - chart["gap"])
        ends = {"from": middle - reach, "to": middle + reach}
        up = down = 0.0
        for series, amounts in chart["stacks"]:
            amount = amounts[place]
            base = up if amount > 0 else down
            if amount:
                rows.append({**ends, "low": base, "high": base + amount, "series": series})
            up, down = (base + amount, down) if amount > 0 else (up, base + amount)
        if place in chart["odd"]:
            spots.append({"at": middle, "high": up})
        if chart["titles"]:
            half = step / 2
            hits.append(
                {"from": middle - half, "to": middle + half, "told": chart["titles"][place]}
            )
    rows.sort(key=lambda row: row["series"])  # neighbours of one colour become one path
    first, last = chart["starts"][0] * 1000, chart["starts"][-1] * 1000 + step - _DAY_MS
    scale = alt.Scale(type="utc", domain=[first - _DAY_MS / 2, last + _DAY_MS / 2], nice=False)
    is_long = len(chart["starts"]) * chart["step"] > 200  # noqa: PLR2004 - months are enough then
    ticks = max(2, min(chart["width"] // 75, len(chart["starts"])))
    axis = alt.Axis(
        format="%b %Y" if is_long else "%-d %b", tickCount=ticks, grid=False, title=None
    )
    x: dict[str, Any] = {"x": alt.X("from:T", scale=scale, axis=axis), "x2": "to:T"}
    peak = max((abs(row["high"]) for row in rows), default=0)
    form = "~s" if peak >= 1000 else ",d" if peak >= _SMALL else "~r"  # noqa: PLR2004 - from here on in k
    high = alt.Y(
        "low:Q", axis=alt.Axis(format=form, tickCount=4, title=None), scale=alt.Scale(nice=True)
    )
    layers = [_of("rows").mark_bar().encode(**x, y=high, y2="high:Q", color=_series())]
    if spots:
        layers.append(
            _of("spots")
            .mark_point(shape="triangle-down", size=50, filled=True, yOffset=-7, opacity=1)
            .encode(x="at:T", y="high:Q", color=alt.value(_COLOURS["odd"]))
        )
    if hits:
        layers.append(
            _of("hits")
            .mark_rect()
            .encode(**x, description="told:N", color=alt.value(_COLOURS["hit"]))
        )
    made = alt.layer(*layers).properties(width=chart["width"], height=chart["height"])
    return made, {"rows": rows, "spots": spots, "hits": hits}


def _bars(chart: dict[str, Any]) -> tuple[Any, Values]:
    """Draw a bar for each label, which stands above it, with its figure at the right."""
    width = chart["width"]
    rows, texts = [], []
    peak = max((sum(value for _, value in values) for values in chart["values"]), default=0) or 1
    for above, values in enumerate(chart["values"]):
        begun = 0.0
        for series, value in values:
            ends = {"from": begun / peak, "to": (begun + value) / peak}
            rows.append({"row": above, "series": series, **ends})
            begun += value
        label, figure = chart["labels"][above], chart["figures"][above]
        texts.append({"row": above, "label": label, "figure": figure})
    # Labels stand before the bars where there is room, else above them.
    is_wide = width > 3 * _LABELS
    longest = max((len(figure) for figure in chart["figures"]), default=0)
    room = min(max(90, longest * _CHARACTER + 10), width // 2)
    step, left, right = (24, _LABELS, width - room) if is_wide else (_ROW, 0, width)
    height = len(texts) * step
    limit = left - 50 if is_wide else width - room - 20
    place = alt.Scale(domain=[0, len(texts)], reverse=True, nice=False)
    x = alt.X("from:Q", scale=alt.Scale(domain=[0, 1], range=[left, right]), axis=None)
    y = alt.Y("row:Q", scale=place, axis=None)
    text = _of("texts")
    shape: dict[str, Any] = {"height": 12, "yOffset": 12 if is_wide else 30}
    lead: dict[str, Any] = {"baseline": "top", "dy": 6, "fontSize": 13}
    made = alt.layer(
        text.mark_rect(**shape).encode(
            x=alt.value(left), x2=alt.value(right), y=y, color=alt.value(_COLOURS["track"])
        ),
        _of("rows").mark_rect(**shape).encode(x=x, x2="to:Q", y=y, color=_series()),
        text.mark_text(align="left", limit=limit, **lead).encode(
            x=alt.value(0), y=y, text="label:N", color=alt.value(_COLOURS["lead"])
        ),
        text.mark_text(align="right", limit=room, **lead).encode(
            x=alt.value(width), y=y, text="figure:N", color=alt.value(_COLOURS["lead"])
        ),
    ).properties(width=width, height=height)
    return made, {"rows": rows, "texts": texts}


def _of(values: str) -> Any:
    return alt.Chart(alt.NamedData(values))


def _series() -> Any:
    names = [f"s{n}" for n in range(SERIES)]
    scale = alt.Scale(domain=names, range=[_COLOURS[name] for name in names])
    return alt.Color("series:N", scale=scale, legend=None)


_SVG = "{http://www.w3.org/2000/svg}"
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_KEPT = {
    "svg": ("viewBox",),
    "g": ("transform",),
    "path": ("d", "transform"),
    "line": ("x2", "y2", "transform"),
    "text": ("text-anchor", "transform"),
}
_SHAPES = re.compile(r"[-+MmLlHhVvCcAaZz0-9.,e ()a-z]*")
"""Characters of coordinates and of transformations."""
_WORDLESS = {"background", "foreground"}
"""Classes of the frames of groups, which are not shown."""


def cleaned(text: str) -> str:
    """Make a new drawing of the shapes and texts of one, without anything else.

    Neighbours of one colour become one path; a year of stacked days would be 500 kB otherwise.
    """
    drawing = next(_copies(ET.fromstring(text)))  # noqa: S314 - written by vl-convert, not received
    return ET.tostring(drawing, encoding="unicode")


def _copies(node: ET.Element) -> Iterator[ET.Element]:
    tag = node.tag.removeprefix(_SVG)
    if tag not in _KEPT or _WORDLESS & {node.get("class", "")} or node.get("display") == "none":
        return
    colour = node.get("fill", "") if tag in ("path", "text") else ""
    attributes = {name: _short(node.get(name, "")) for name in _KEPT[tag] if node.get(name)}
    if attributes.get("transform") == "translate(0,0)":
        del attributes["transform"]
    if colour in _MARKERS:
        attributes = {"class": _MARKERS[colour], **attributes}
    made = ET.Element(tag, attributes)
    if tag == "text":
        made.text = "".join(node.itertext())
    elif told := node.get("aria-label") if attributes.get("class") == "hit" else None:
        ET.SubElement(made, "title").text = told
    for child in node:
        for copy in _copies(child):
            _add(made, copy)
    if tag == "g" and not attributes:
        yield from made
    elif tag != "g" or len(made):
        yield made


def _add(made: ET.Element, copy: ET.Element) -> None:
    last = made[-1] if len(made) else None
    mergeable = copy.tag == "path" and not len(copy) and "transform" not in copy.attrib
    if (
        mergeable
        and last is not None
        and not len(last)
        and (last.tag, last.attrib.keys(), last.get("class"))
        == (copy.tag, copy.attrib.keys(), copy.get("class"))
    ):
        last.set("d", last.get("d", "") + copy.get("d", ""))
    else:
        made.append(copy)


def _short(value: str) -> str:
    """Round numbers to tenths; a value of other characters than those of shapes is dropped."""
    if not _SHAPES.fullmatch(value):
        return ""
    return _NUMBER.sub(lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), value)


if __name__ == "__main__":
    json.dump([drawn(chart) for chart in json.load(sys.stdin)], sys.stdout)
