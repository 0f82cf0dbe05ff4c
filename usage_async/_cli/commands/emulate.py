"""Command `usage-async emulate`: serve a made-up organization on a local port, for tests."""

from __future__ import annotations

import re
from inspect import Parameter as Argument
from inspect import Signature
from types import GenericAlias
from typing import Annotated, Any, get_args, get_type_hints

import attrs
from cyclopts import Group, Parameter

from usage_async._cli.context import Context
from usage_async._cli.options import CONTEXT, flag_of, option
from usage_async._cli.stderr import write
from usage_async.emulator import Faults, Quirks
from usage_async.errors import QueryError

_SWITCHES = (
    (Group("Faults: what goes wrong", sort_key=20), Faults),
    (Group("Quirks: what is odd", sort_key=30), Quirks),
)


def emulate(*, port: int, context: Context, **switches: Any) -> None:
    """Serve a made-up organization on this machine."""
    from usage_async.emulator import Emulator, serve

    made = [_make(kind, switches) for _, kind in _SWITCHES]
    emulator = Emulator(port=port, faults=made[0], quirks=made[1], now=context.runtime.now)

    def started(server: Emulator) -> None:
        context.out.print(f"USAGE_ASYNC_BASE_URL={server.url}", soft_wrap=True)
        context.out.print(f"OPENAI_ADMIN_KEY={server.admin_key}", soft_wrap=True)
        write("serving until Ctrl-C\n")

    context.run(serve(emulator, started=started))


def _make(kind: Any, switches: dict[str, Any]) -> Any:
    names = [a.name for a in attrs.fields(kind)]
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name in names
        if (value := switches[name]) is not None
    }
    try:
        return kind(**given)
    except (ValueError, TypeError) as error:
        reason = re.sub(r"'(\w+)'", lambda match: flag_of(match[1]), str(error.args[0]), count=1)
    raise QueryError(reason)


def _options(kind: Any, group: Group) -> list[Argument]:
    """Make an option of every field; its documentation is the help."""
    hints, docs = get_type_hints(kind), _documentation(kind)
    return [
        option(
            a.name,
            _hint(hints[a.name]),
            None,
            group=group,
            negative=flag_of(f"no_{a.name}") if a.default is True else "",
            help=docs[a.name] + _default(a.default),
        )
        for a in attrs.fields(kind)
    ]


def _hint(hint: Any) -> Any:
    # A tuple becomes a list: its option is repeated for each item.
    items = get_args(hint)
    return (GenericAlias(list, items[:1]) if items[1:] == (...,) else hint) | None


def _default(value: Any) -> str:
    if value is None or value == ():
        return ""
    shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
    return f" Default: {shown}."


def _documentation(kind: Any) -> dict[str, str]:
    """Read the lines of the `Attributes` section of a docstring."""
    docs: dict[str, str] = {}
    name = ""
    for line in kind.__doc__.partition("Attributes:")[2].splitlines():
        before, _, after = line.strip().partition(": ")
        is_first = before in attrs.fields_dict(kind)
        name = before if is_first else name
        docs[name] = f"{docs.get(name, '')} {after if is_first else line.strip()}".strip()
    return docs


_PORT = Annotated[
    int,
    Parameter(group=Group("Server", sort_key=10), help="Port to listen on; 0 takes a free one."),
]
emulate.__signature__ = Signature(  # type: ignore[attr-defined] # a function takes any
    [
        Argument("port", Argument.KEYWORD_ONLY, default=8089, annotation=_PORT),
        *(argument for group, kind in _SWITCHES for argument in _options(kind, group)),
        CONTEXT,
    ]
)
emulate.__annotations__ = {}
