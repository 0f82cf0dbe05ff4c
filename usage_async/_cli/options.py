"""Options that commands share, and the commands for every endpoint, derived from the table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from inspect import Parameter as Argument
from inspect import Signature
from pathlib import Path
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast, get_type_hints

import attrs
from cyclopts import App, Group, Parameter

from usage_async._api.endpoints import ENDPOINTS, Endpoint, unknown_endpoint
from usage_async._cli.connection import Connection
from usage_async._cli.context import Context
from usage_async.errors import QueryError
from usage_async.report.dimensions import find_dimension, word_of
from usage_async.report.formats import Format

if TYPE_CHECKING:
    from usage_async._client.client import UsageClient
    from usage_async._client.query import UsageQuery

D = TypeVar("D", bound=str)

_TIMES = Group("Time (UTC)", sort_key=10)
_WHAT = Group("Figures", sort_key=20)
ORGANIZATIONS = Group("Organizations", sort_key=20)
OUTPUT = Group("Output", sort_key=30)
_PAGES = Group("Pages", sort_key=80)

PERIOD = "The whole range: 2026-10, 2026-Q4, 2026, 2026-W40, 2026-10-05, 7d, this-month, last-week."
START = "Start, inclusive: 2026-10-01, 2026-10-01T09:00Z, 7d (ago), Unix seconds."
END = "End, exclusive, in the same forms. Default: now."

_KNOWN: Mapping[str, tuple[Group, type, str, str]] = {
    "start_time": (_TIMES, str, "--start", START),
    "end_time": (_TIMES, str, "--end", END),
    "period": (_TIMES, str, "--period", PERIOD),
    "clamp": (
        _TIMES,
        bool,
        "--clamp",
        "If the history begins later than the range, read from there.",
    ),
    "limit": (_PAGES, int, "--limit", "Buckets in a page, never a total."),
    "page": (
        _PAGES,
        str,
        "--page",
        "Cursor to begin at; give the absolute times that it was made with.",
    ),
}
"""Parameters of every endpoint: group, type, option and help."""

_BY = "--by"
_OF_THE_CLIENT = ("unchecked",)
"""Arguments of the client's `query` that are not parameters of the API."""
_UNSPLIT = ("line_item",)
"""Dimensions whose values may contain a comma."""


@attrs.frozen
class QueryArguments:
    """Arguments of a query, as the command line gives them.

    Attributes:
        name: Name of the endpoint, or its path.
        params: Parameters as the client's method takes them.
        unchecked: True if there are parameters that this release does not know.
    """

    name: str
    params: Mapping[str, Any]
    unchecked: bool = False

    def query(self, client: UsageClient) -> UsageQuery[Any]:
        """Make the query of a client."""
        return client.query(self.name, unchecked=self.unchecked, **self.params)


Action = Callable[..., int | None]
"""Action of a command: `(arguments, connection, context, **own options)`."""


def endpoint_app(
    name: str,
    summary: str,
    action: Action,
    own: Sequence[Argument],
    example: str,
    *,
    only: Mapping[str, Sequence[Argument]] | None = None,
) -> App:
    """Make a command with a subcommand for every endpoint.

    Args:
        name: Name of the command.
        summary: Its help.
        action: The function that a subcommand calls.
        own: Its own options, beside those of the endpoint.
        example: The rest of its example.
        only: Own options of single endpoints, by name.
    """
    app = App(
        name=name,
        help=f"{summary}\n\nEach endpoint has its own options: usage-async {name} costs --help",
        help_epilogue=f"Example: usage-async {name} {example}",
    )
    for endpoint in ENDPOINTS.values():
        doc = (endpoint.result_class.__doc__ or "").partition("\n")[0]
        options = [*own, *(only or {}).get(endpoint.name, ())]
        app.command(_command(endpoint.name, options, action), name=endpoint.name, help=doc)
    newer = "An endpoint that this program does not know, by its path."
    app.command(_command(None, own, action), name="path", help=newer)
    return app


def _command(name: str | None, arguments: Sequence[Argument], action: Action) -> Any:
    """Make the subcommand of an endpoint; None takes a path from the command line."""

    def command(*path: str, connection: Connection, context: Context, **given: Any) -> int | None:
        own = {key: value for key, value in given.items() if key not in params}
        for key in own:
            del given[key]
        return action(_read(name or path[0], endpoint, given), connection, context, **own)

    endpoint = unknown_endpoint("") if name is None else ENDPOINTS[name]
    params = {"set", *get_type_hints(endpoint.params)}
    options = [*_arguments(endpoint), *arguments, CONNECTION, CONTEXT]
    if name is None:
        hint = Annotated[str, Parameter(help="Such as /organization/usage/brand_new.")]
        options.insert(0, Argument("path", Argument.POSITIONAL_ONLY, annotation=hint))
    command.__signature__ = Signature(options)  # type: ignore[attr-defined] # a function takes any
    command.__annotations__ = {}
    return command


def _keyword(name: str, hint: Any, default: Any = None) -> Argument:
    return Argument(name, Argument.KEYWORD_ONLY, default=default, annotation=hint)


CONNECTION = _keyword("connection", Connection, Connection())
"""The argument with the connection options."""
CONTEXT = _keyword("context", Annotated[Any, Parameter(parse=False)], Argument.empty)
"""The argument that the dispatch fills; it is no option."""


def option(
    name: str, hint: Any, default: Any, *, flag: str | None = None, **about: Any
) -> Argument:
    """Make an option of a command.

    Args:
        name: Name of the argument in Python.
        hint: Its type.
        default: Its value where it is left out.
        flag: Name on the command line, where that differs.
        about: Further arguments of cyclopts' `Parameter`.
    """
    return _keyword(name, Annotated[hint, Parameter(name=flag, **about)], default)


def output_options(formats: Mapping[str, Format]) -> list[Argument]:
    """Make the options `--format` and `--output` of a command with these formats."""
    docs = " ".join(f"{name}: {each.doc}." for name, each in formats.items())
    endings = ", ".join(ending for each in formats.values() for ending in each.endings)
    return [
        option(
            "format",
            one_of(tuple(formats)) | None,
            None,
            group=OUTPUT,
            help=f"{docs} Default: by the ending of the file, else {next(iter(formats))}.",
            show_default=False,
        ),
        option(
            "output",
            Path | None,
            None,
            group=OUTPUT,
            alias="-o",
            allow_leading_hyphen=True,
            help=f"File to write ({endings}), replaced only when the new one is whole."
            " Default: -, standard output.",
            show_default=False,
        ),
    ]


def organizations_option(text: str) -> Argument:
    """Make the option `--organizations`.

    Args:
        text: Words that follow the description of the option.
    """
    return option(
        "organizations",
        Path | None,
        None,
        group=ORGANIZATIONS,
        show_default=False,
        help=f"TOML file of several organizations. {text}",
    )


def no_names_option() -> Argument:
    """Make the option `--no-names` of a command that shows names."""
    return option(
        "no_names",
        bool,
        default=False,
        group=OUTPUT,
        negative="",
        show_default=False,
        help="Read no names, and neither read nor write the file that keeps them.",
    )


def _arguments(endpoint: Endpoint) -> list[Argument]:
    made = [_argument(endpoint, name) for name in get_type_hints(endpoint.params)]
    newer = option(
        "set",
        list[str] | None,
        None,
        group=_PAGES,
        negative="",
        help="NAME=VALUE: send a parameter or a value that this program does not know.",
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
        hint = one_of(endpoint.bucket_widths)
        return option(
            name, hint | None, None, group=_WHAT, alias="--width", help="Length of a bucket."
        )
    if name == "group_by":
        words = tuple(map(word_of, endpoint.group_by))
        return _list(
            name, words, "Group by these dimensions, separated by commas or blanks.", flag=_BY
        )
    filter_ = endpoint.filters[name]
    if filter_.type is bool:
        return option(
            name, bool | None, None, group=_WHAT, help=f"Only {name} requests, or only others."
        )
    split = filter_.dimension not in _UNSPLIT
    known = f"; known: {', '.join(filter_.choices)}" if filter_.is_open else ""
    return _list(
        name,
        _choices(endpoint, name),
        f"Only these, separated by {'commas or ' if split else ''}blanks{known}.",
        split=split,
    )


def one_of(choices: tuple[str, ...]) -> Any:
    """Give the type of a value that is one of these; any text where there are no choices."""
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
        GenericAlias(list, one_of(choices)) | None,
        None,
        group=_WHAT,
        negative="",
        consume_multiple=True,
        converter=_split if split else None,
        flag=flag,
        help=text,
    )


def _split(_: Any, tokens: Sequence[Any]) -> list[str]:
    """Read a list whose items are separated by commas, blanks or repeated options."""
    return [part.strip() for token in tokens for part in token.value.split(",")]


def _read(name: str, endpoint: Endpoint, given: dict[str, Any]) -> QueryArguments:
    newer = [_pair(text) for text in given.pop("set", None) or ()]
    params: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    times = {name: params.get(name) for name in ("start_time", "end_time", "period")}
    check_end(times["start_time"], times["end_time"], times["period"])
    if not any(times.values()):
        raise QueryError(
            "the time is missing: add --period 2026-10, --period 7d or --start 2026-10-01"
        )
    if "group_by" in params:
        unchecked = [value for key, value in newer if key == "group_by"]
        params["group_by"] = _dimensions(endpoint, params["group_by"], unchecked)
    for key, value in newer:
        _check_name(key, given)
        taken = key == "bucket_width" and key in params
        if taken or (key in given and not _choices(endpoint, key)):
            raise QueryError(f"--set {key}: use {_flag(key)} instead")
        if key == "bucket_width":
            params[key] = value
        else:
            params[key] = [*params.get(key, ()), value]
    return QueryArguments(name, params, unchecked=bool(newer))


def _check_name(name: str, given: Collection[str]) -> None:
    """Refuse names that only look like parameters that this program does not know."""
    if name in _OF_THE_CLIENT:
        raise QueryError(
            f"--set {name}: not a parameter of the API; --set alone sends unknown ones"
        )
    plain = name.partition("[")[0]
    if plain != name and plain in given:
        raise QueryError(f"--set {name}: use {_flag(plain)} instead, without brackets")


def flag_of(name: str) -> str:
    """Give the flag of an option that is named after a parameter or a field."""
    return f"--{name.replace('_', '-')}"


def _flag(name: str) -> str:
    if name == "group_by":
        return _BY
    return _KNOWN[name][2] if name in _KNOWN else flag_of(name)


def _dimensions(endpoint: Endpoint, words: Iterable[str], unchecked: Sequence[str]) -> list[str]:
    """Give the dimensions that words mean; an unknown endpoint may have any dimension."""
    if endpoint.group_by:
        known = endpoint.group_by
        return [word if word in unchecked else read_dimension(word, known) for word in words]
    every = [dimension for each in ENDPOINTS.values() for dimension in each.group_by]
    return [find_dimension(word, every) or word for word in words]


def _choices(endpoint: Endpoint, name: str) -> tuple[str, ...]:
    """Give the values that the option of a parameter takes; none if it takes any value."""
    if name in endpoint.filters:
        filter_ = endpoint.filters[name]
        return () if filter_.is_open else filter_.choices
    return {"bucket_width": endpoint.bucket_widths, "group_by": endpoint.group_by}.get(name, ())


def as_written(_: Any, tokens: Sequence[Any]) -> str:
    """Take a word as it is written: `read_dimension` also knows the API's, such as project_id."""
    return str(tokens[0].value)


def read_dimension(word: str, dimensions: Collection[D]) -> D:
    """Find the dimension that a word means: `project`, `project-id` and `project_id` alike.

    Raises:
        QueryError: It is none of these.
    """
    found = find_dimension(word, dimensions)
    if found is None:
        raise QueryError(f"--by takes {', '.join(map(word_of, dimensions))}; not {word!r}")
    return found


def check_end(start: str | None, end: str | None, period: str | None) -> None:
    """Refuse an end without a start.

    Raises:
        QueryError: The start is missing.
    """
    if end is not None and start is None and period is None:
        raise QueryError("--end needs --start")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise QueryError(f"--set takes NAME=VALUE, not {text!r}")
    return name, value
