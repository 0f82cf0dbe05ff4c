"""The options of an endpoint, derived from the table: its parameters, as the API names them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from inspect import Parameter as Argument
from inspect import Signature
from types import GenericAlias
from typing import Annotated, Any, Literal, TypeVar, cast, get_type_hints

import attrs
from cyclopts import App, Group, Parameter

from usage_async._api.endpoints import ENDPOINTS, Endpoint, unknown_endpoint
from usage_async._cli.connect import Connection
from usage_async._cli.context import Context
from usage_async.errors import QueryError
from usage_async.report.words import dimension_of, find, word_of

D = TypeVar("D", bound=str)

_TIMES = Group("Time (UTC)", sort_key=10)
_WHAT = Group("What is read", sort_key=20)
_PAGES = Group("Pages", sort_key=80)

PERIOD = "Both ends: 2026-10, 2026-Q4, 2026, 2026-W40, 2026-10-05, 7d, this-month, last-week."
START = "2026-10-01, 2026-10-01T09:00Z, 7d, Unix seconds."
END = "The same; exclusive; default: now."

_KNOWN: Mapping[str, tuple[Group, type, str, str]] = {
    "start_time": (_TIMES, str, "--start", START),
    "end_time": (_TIMES, str, "--end", END),
    "period": (_TIMES, str, "--period", PERIOD),
    "clamp": (_TIMES, bool, "--clamp", "Read what there is, where the history begins later."),
    "limit": (_PAGES, int, "--limit", "Buckets a page, never a total."),
    "page": (_PAGES, str, "--page", "A cursor to begin at, with the very times it was made with."),
}
"""Parameters that every endpoint has: their group, type, option and help."""

_BY = "--by"
_OF_THE_CLIENT = ("unchecked",)
"""Arguments of the client's `query` that are no parameters."""
_UNSPLIT = ("line_item",)
"""Dimensions whose values may hold a comma."""


@attrs.frozen
class Asked:
    """Query of an endpoint, as the command line says it.

    Attributes:
        name: Of the endpoint, or its path.
        params: As the client's method takes them.
        unchecked: Whether there are parameters that this release does not know.
    """

    name: str
    params: Mapping[str, Any]
    unchecked: bool = False


Act = Callable[..., int | None]
"""Action of a command: `(asked, connection, context, **own options)`."""


def endpoint_app(name: str, summary: str, act: Act, own: Sequence[Argument], example: str) -> App:
    """Make a command with a command for every endpoint.

    Args:
        name: The command.
        summary: Its help.
        act: What it does.
        own: Its own options, beside those of the endpoint.
        example: The rest of its example.
    """
    app = App(
        name=name,
        help=f"{summary}\n\nEach endpoint has its own options: usage-async {name} costs --help",
        help_epilogue=f"Example: usage-async {name} {example}",
    )
    for endpoint in ENDPOINTS.values():
        doc = (endpoint.result_class.__doc__ or "").partition("\n")[0]
        app.command(_command(endpoint.name, own, act), name=endpoint.name, help=doc)
    newer = "An endpoint newer than this program, by its path."
    app.command(_command(None, own, act), name="path", help=newer)
    return app


def _command(name: str | None, arguments: Sequence[Argument], act: Act) -> Any:
    """Make a command of an endpoint; None takes its path from the command line."""

    def command(*path: str, connection: Connection, context: Context, **given: Any) -> int | None:
        own = {key: value for key, value in given.items() if key not in asked}
        for key in own:
            del given[key]
        return act(_asked(name or path[0], endpoint, given), connection, context, **own)

    endpoint = unknown_endpoint("") if name is None else ENDPOINTS[name]
    asked = {"set", *get_type_hints(endpoint.params)}
    connection = _keyword("connection", Connection, Connection())
    context = _keyword("context", Annotated[Any, Parameter(parse=False)], Argument.empty)
    options = [*_arguments(endpoint), *arguments, connection, context]
    if name is None:
        hint = Annotated[str, Parameter(help="Such as /organization/usage/brand_new.")]
        options.insert(0, Argument("path", Argument.POSITIONAL_ONLY, annotation=hint))
    command.__signature__ = Signature(options)  # type: ignore[attr-defined] # a function takes any
    command.__annotations__ = {}
    return command


def _keyword(name: str, hint: Any, default: Any = None) -> Argument:
    return Argument(name, Argument.KEYWORD_ONLY, default=default, annotation=hint)


def option(
    name: str, hint: Any, default: Any, *, flag: str | None = None, **about: Any
) -> Argument:
    """Make an option of a command.

    Args:
        name: As Python writes it.
        hint: Its type.
        default: Its value where it is left out.
        flag: As the command line writes it, where that differs.
        about: How it is shown, as cyclopts takes it.
    """
    return _keyword(name, Annotated[hint, Parameter(name=flag, **about)], default)


def _arguments(endpoint: Endpoint) -> list[Argument]:
    made = [_argument(endpoint, name) for name in get_type_hints(endpoint.params)]
    newer = option(
        "set",
        list[str] | None,
        None,
        group=_PAGES,
        negative="",
        help="NAME=VALUE: a parameter or a value newer than this program, sent as it is.",
    )
    return [*made, newer]


def _argument(endpoint: Endpoint, name: str) -> Argument:
    if name in _KNOWN:
        group, kind, flag, text = _KNOWN[name]
        return option(
            name,
            kind | None,
            None,
            group=group,
            flag=flag,
            negative="",
            help=text,
            show_default=False,
        )
    if name == "bucket_width":
        hint = _one_of(endpoint.bucket_widths)
        return option(name, hint | None, None, group=_WHAT, alias="--width", help="Of a bucket.")
    if name == "group_by":
        words = tuple(map(word_of, endpoint.group_by))
        return _list(name, words, "Split by these; several with commas or blanks.", flag=_BY)
    filter_ = endpoint.filters[name]
    if filter_.type is bool:
        return option(name, bool | None, None, group=_WHAT, help="Only these, or none of them.")
    known = f"; known are {', '.join(filter_.choices)}" if filter_.is_open else ""
    return _list(
        name,
        _choices(endpoint, name),
        f"Only these{known}.",
        split=filter_.dimension not in _UNSPLIT,
    )


def _one_of(choices: tuple[str, ...]) -> Any:
    """Give the type of a value that is one of these; any text where there are none."""
    return cast("Any", Literal)[choices] if choices else str


def _list(
    name: str,
    choices: tuple[str, ...],
    text: str,
    *,
    split: bool = True,
    flag: str | None = None,
) -> Argument:
    return option(
        name,
        GenericAlias(list, _one_of(choices)) | None,
        None,
        group=_WHAT,
        negative="",
        consume_multiple=True,
        converter=_split if split else None,
        flag=flag,
        help=text,
    )


def _split(_: Any, tokens: Sequence[Any]) -> list[str]:
    """Read a list, its items apart by commas, blanks or repeated options."""
    return [part.strip() for token in tokens for part in token.value.split(",")]


def _asked(name: str, endpoint: Endpoint, given: dict[str, Any]) -> Asked:
    newer = [_pair(text) for text in given.pop("set", None) or ()]
    params: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if "end_time" in params and not {"start_time", "period"} & params.keys():
        raise QueryError("--end needs --start")
    if not {"start_time", "period"} & params.keys():
        raise QueryError(
            "say which time, such as --period 2026-10, --period 7d, --start 2026-10-01"
        )
    if "group_by" in params:
        unchecked = [value for key, value in newer if key == "group_by"]
        params["group_by"] = _dimensions(endpoint, params["group_by"], unchecked)
    for key, value in newer:
        _check_name(key, given)
        taken = key == "bucket_width" and key in params
        if taken or (key in given and not _choices(endpoint, key)):
            raise QueryError(f"--set {key}: say it as {_flag(key)}")
        if key == "bucket_width":
            params[key] = value
        else:
            params[key] = [*params.get(key, ()), value]
    return Asked(name, params, unchecked=bool(newer))


def _check_name(name: str, given: Collection[str]) -> None:
    """Refuse what only looks like a parameter newer than this program."""
    if name in _OF_THE_CLIENT:
        raise QueryError(
            f"--set {name}: no parameter of the API; --set sends unknown ones as it is"
        )
    plain = name.partition("[")[0]
    if plain != name and plain in given:
        raise QueryError(f"--set {name}: say it as {_flag(plain)}, without brackets")


def _flag(name: str) -> str:
    if name == "group_by":
        return _BY
    return _KNOWN[name][2] if name in _KNOWN else f"--{name.replace('_', '-')}"


def _dimensions(endpoint: Endpoint, words: Iterable[str], unchecked: Sequence[str]) -> list[str]:
    """Give the dimensions that words mean; an endpoint that is not known may have any."""
    if endpoint.group_by:
        known = endpoint.group_by
        return [word if word in unchecked else dimension_of(word, known) for word in words]
    every = [dimension for each in ENDPOINTS.values() for dimension in each.group_by]
    return [find(word, every) or word for word in words]


def _choices(endpoint: Endpoint, name: str) -> tuple[str, ...]:
    """Give the values that the option of a parameter takes; none where it takes any."""
    if name in endpoint.filters:
        filter_ = endpoint.filters[name]
        return () if filter_.is_open else filter_.choices
    return {"bucket_width": endpoint.bucket_widths, "group_by": endpoint.group_by}.get(name, ())


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise QueryError(f"--set takes NAME=VALUE, not {text!r}")
    return name, value
