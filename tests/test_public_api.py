"""The public names and their signatures are those written down: none changes by accident.

`python tests/test_public_api.py` writes them anew.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import itertools
import pkgutil
import re
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypedDict, TypeVar, Unpack

import attrs
import pytest

import usage_async

SAMPLE = Path(__file__).parent / "samples" / "public_api.txt"
WIDTH = 92

# What `with`, `for`, `await` and operators call. The other special methods are made by attrs or by
# Python itself, and differ between their releases.
PROTOCOLS = {
    *("__aenter__", "__aexit__", "__await__", "__call__", "__enter__", "__exit__"),
    *("__aiter__", "__anext__", "__contains__", "__getitem__", "__iter__", "__len__", "__next__"),
    *("__add__", "__and__", "__bool__", "__ge__", "__gt__", "__le__", "__lt__", "__or__"),
}

# A `*` that says where keyword-only parameters begin stands before none of these.
STARRED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_POSITIONAL)


def described(package: types.ModuleType) -> str:
    """Every public name of a package, and of what stands in it without an underscore."""
    sections: list[str] = []
    homes: dict[object, str] = {}
    for module in (package, *public_modules(package)):
        entries, elsewhere = [], []
        for name in exported(module):
            value, home = getattr(module, name), f"{module.__name__}.{name}"
            shared = isinstance(value, type) or inspect.isroutine(value)
            if shared and homes.setdefault(value, home) != home:
                elsewhere.append(f"{name} = {homes[value]}")
            else:
                entries.append(entry(name, value))
        entries += ["\n".join(elsewhere)] if elsewhere else []
        sections.append("\n\n".join([f"# {module.__name__}", *entries]))
    return "\n\n\n".join(sections) + "\n"


def public_modules(package: types.ModuleType) -> list[types.ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return [importlib.import_module(f"{package.__name__}.{n}") for n in names if n[0] != "_"]


def exported(module: types.ModuleType) -> list[str]:
    """The names that a module exports; without `__all__`, its own classes and functions."""
    own = (
        name
        for name, value in vars(module).items()
        if isinstance(value, type) or inspect.isroutine(value)
        if name[0] != "_" and value.__module__ == module.__name__
    )
    return sorted(getattr(module, "__all__", own))


def entry(name: str, value: Any) -> str:
    """Describe one public name of a module."""
    if isinstance(value, type):
        return class_entry(name, value)
    if inspect.isroutine(value):
        return function(name, value)
    if isinstance(value, Mapping):
        return "\n".join([f"{name}: {type(value).__name__}", *(f"    {key!r}" for key in value)])
    if type(value).__module__ == "builtins":
        return f"{name} = {value!r}"
    if typing.get_origin(value) is Annotated:  # what it is annotated with may hold addresses
        return f"{name} = Annotated[{text(typing.get_args(value)[0])}, ...]"
    return f"{name} = {text(value)}" if typing.get_origin(value) else f"{name}: {text(type(value))}"


def class_entry(name: str, kind: type) -> str:
    """Describe a class, without the members that it takes over from its public bases."""
    bases = [base for base in kind.__mro__[1:] if is_public(base)]
    near = [base for base in bases if not any(base in other.__mro__[1:] for other in bases)]
    near += [base for base in kind.__bases__ if issubclass(base, Exception) and not is_ours(base)]
    named = ["TypedDict"] if typing.is_typeddict(kind) else [base.__name__ for base in near]
    variables = ", ".join(map(text, getattr(kind, "__parameters__", ())))
    heading = f"class {name}" + (f"[{variables}]" if variables else "")
    heading += f"({', '.join(named)})" if named else ""
    inherited = [members(base) for base in bases]
    own = [
        entry
        for member, entry in sorted(members(kind).items())
        if not any(base.get(member) == entry for base in inherited)
    ]
    return textwrap.indent("\n".join([heading, *own]), "    ").removeprefix("    ")


def is_public(kind: type) -> bool:
    """Tell if a class is ours, and can be imported by its users."""
    if kind.__module__ == __name__:
        return kind.__name__[0] != "_"
    doors = (usage_async, *public_modules(usage_async))
    return is_ours(kind) and any(kind.__name__ in exported(door) for door in doors)


def is_ours(kind: type) -> bool:
    return kind.__module__ == __name__ or kind.__module__.startswith("usage_async")


def annotation_of(kind: type, attribute: attrs.Attribute[Any]) -> Any:
    """Give the annotation of a field as it was written: whoever resolves it changes its `type`."""
    name = attribute.name
    annotations = (inspect.get_annotations(owner) for owner in kind.__mro__)
    return next((found[name] for found in annotations if name in found), attribute.type)


def members(kind: type) -> dict[str, str]:
    """Describe the constructor, fields and methods of a class, also those of private bases."""
    if typing.is_typeddict(kind):
        return {key: f"{key}: {text(hint)}" for key, hint in kind.__annotations__.items()}
    fields = attrs.fields(kind) if attrs.has(kind) else ()
    found = {
        a.name: f"{a.name}: {text(annotation_of(kind, a))}" for a in fields if a.name[0] != "_"
    }
    # A class with private fields only is made by the library, not by its users.
    if not fields or any(a.init and a.name[0] != "_" for a in fields):
        found["__init__"] = function("__init__", kind)
    seen = {a.name for a in fields}
    for owner in filter(is_ours, kind.__mro__):
        for name, value in vars(owner).items():
            if name not in seen and (name[0] != "_" or name in PROTOCOLS):
                found[name] = member(name, value, inspect.get_annotations(owner).get(name))
            seen.add(name)
    return found


def member(name: str, value: Any, hint: object) -> str:
    if isinstance(value, classmethod | staticmethod):
        return f"@{type(value).__name__}\n{function(name, value.__func__)}"
    if isinstance(value, property | cached_property):
        get = value.fget if isinstance(value, property) else value.func
        note = ", can be set" if getattr(value, "fset", None) else ""
        return f"{name}: {text(inspect.signature(get).return_annotation)}  # property{note}"
    if inspect.isdatadescriptor(value):  # a slot
        return f"{name}: {text(hint)}"
    return function(name, value) if inspect.isroutine(value) else f"{name} = {default(value)}"


def function(name: str, value: Callable[..., Any]) -> str:
    """Write a signature in one line or, where that is long, with a line for each parameter."""
    signature = inspect.signature(value)
    kinds = inspect.Parameter
    arguments, before = [], None
    for parameter in itertools.chain(*(spread(p, value) for p in signature.parameters.values())):
        if before is kinds.POSITIONAL_ONLY is not parameter.kind:
            arguments.append("/")
        if parameter.kind is kinds.KEYWORD_ONLY and before not in STARRED:
            arguments.append("*")
        arguments.append(written(parameter))
        before = parameter.kind
    arguments += ["/"] if before is kinds.POSITIONAL_ONLY else []
    returns = signature.return_annotation
    arrow = "" if name == "__init__" or returns is signature.empty else f" -> {text(returns)}"
    begin = f"{'async ' if inspect.iscoroutinefunction(value) else ''}def {name}("
    line = f"{begin}{', '.join(arguments)}){arrow}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([begin, *(f"    {argument}," for argument in arguments), f"){arrow}"])


def spread(parameter: inspect.Parameter, owner: Callable[..., Any]) -> list[inspect.Parameter]:
    """Give keyword arguments that a TypedDict describes one by one; nothing for `self`."""
    if parameter.name in ("self", "cls"):
        return []
    unpacked = re.fullmatch(r"Unpack\[(\w+)\]", text(parameter.annotation))
    names = getattr(inspect.unwrap(owner), "__globals__", {})
    if not unpacked or unpacked[1] not in names:
        return [parameter]
    return [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=..., annotation=hint)
        for key, hint in names[unpacked[1]].__annotations__.items()
    ]


def written(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    is_typed = parameter.annotation is not parameter.empty
    line = f"{stars}{parameter.name}" + (f": {text(parameter.annotation)}" if is_typed else "")
    has_default = parameter.default is not parameter.empty
    return f"{line} = {default(parameter.default)}" if has_default else line


def default(value: Any) -> str:
    """Write a default; `...` for one that is made anew each time, or has no text of its own."""
    if value is ... or value is attrs.NOTHING:
        return "..."
    named = inspect.isroutine(value) or isinstance(value, type)
    shown = value.__name__ if named else repr(value)
    return "..." if " at 0x" in shown else shown


def text(hint: Any) -> str:
    """Write an annotation alike on every Python, evaluated or not."""
    hint = getattr(hint, "__forward_arg__", hint)
    if isinstance(hint, str):
        return ast.unparse(ast.parse(hint, mode="eval"))
    if isinstance(hint, list):
        return f"[{', '.join(map(text, hint))}]"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(text, arguments))
    if origin is not None:
        parts = map(repr if origin is Literal else text, arguments)
        return f"{text(origin)}[{', '.join(parts)}]"
    names = {None: "None", types.NoneType: "None", ...: "..."}
    return names.get(hint) or getattr(hint, "__name__", str(hint).removeprefix("typing."))


def test_the_public_names_and_signatures_are_those_written_down():
    was, found = SAMPLE.read_text("utf-8").splitlines(), described(usage_async).splitlines()
    diff = difflib.unified_diff(was, found, "written down", "found", lineterm="")
    if was != found:
        told = "The public API differs from what is written down. If that is meant, run\n"
        told += "    python tests/test_public_api.py\nand tell it in .github/CHANGELOG.md.\n\n"
        pytest.fail(told + "\n".join(diff), pytrace=False)


T = TypeVar("T")


class Options(TypedDict, total=False):
    size: Literal["a", "b"]
    until: int | None


class _Base:
    @property
    def inherited(self) -> str:
        raise NotImplementedError


@attrs.define
class Thing(_Base, Generic[T]):
    most = 5
    name: str
    amount: Decimal | None = None
    parts: list[str] = attrs.field(factory=list, kw_only=True)
    made: int = attrs.field(init=False, default=0)
    _given: str = ""
    _private: str = attrs.field(init=False, default="")

    @classmethod
    def make(cls, **options: Unpack[Options]) -> Thing[T]:
        raise NotImplementedError

    @staticmethod
    def plain(number: int, /, *, found: Callable[[], int] = int, mark: object = object()) -> None:
        raise NotImplementedError

    async def first(self, *names: str, strict: bool = False) -> T | None:
        raise NotImplementedError

    @cached_property
    def later(self) -> int:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def _hidden(self) -> None:
        raise NotImplementedError


@attrs.define
class OtherThing(Thing[T]):
    made: int = 0

    def more(self, a_rather_long_name: dict[str, T], another_rather_long_name: int) -> list[T]:
        raise NotImplementedError


@attrs.frozen
class Given:
    _engine: object


DESCRIBED = {
    Options: """\
class Options(TypedDict)
    size: Literal['a', 'b']
    until: int | None""",
    Thing: """\
class Thing[T]
    def __init__(
        name: str,
        amount: Decimal | None = None,
        given: str = '',
        *,
        parts: list[str] = ...,
    )
    def __len__() -> int
    amount: Decimal | None
    async def first(*names: str, strict: bool = False) -> T | None
    inherited: str  # property
    later: int
    made: int
    @classmethod
    def make(*, size: Literal['a', 'b'] = ..., until: int | None = ...) -> Thing[T]
    most = 5
    name: str
    parts: list[str]
    @staticmethod
    def plain(number: int, /, *, found: Callable[[], int] = int, mark: object = ...) -> None""",
    OtherThing: """\
class OtherThing[T](Thing)
    def __init__(
        name: str,
        amount: Decimal | None = None,
        given: str = '',
        made: int = 0,
        *,
        parts: list[str] = ...,
    )
    def more(a_rather_long_name: dict[str, T], another_rather_long_name: int) -> list[T]""",
    Given: "class Given",
}


@pytest.mark.parametrize("kind", DESCRIBED, ids=lambda kind: kind.__name__)
def test_a_class_is_described_by_what_its_users_can_reach(kind):
    assert entry(kind.__name__, kind) == DESCRIBED[kind]


@pytest.mark.parametrize(
    ("hint", "written"),
    [
        ("Sequence['str']|None", "Sequence['str'] | None"),
        (int | None, "int | None"),
        (typing.Optional[int], "int | None"),  # noqa: UP045 - older Pythons tell it apart
        (Callable[[Decimal], None], "Callable[[Decimal], None]"),
        (Callable[..., T], "Callable[..., T]"),
        (tuple[str, ...], "tuple[str, ...]"),
        (Mapping[str, Literal["a"]], "Mapping[str, Literal['a']]"),
        (Any, "Any"),
        (None, "None"),
    ],
)
def test_an_annotation_is_written_alike_however_it_was_evaluated(hint, written):
    assert text(hint) == written


if __name__ == "__main__":
    SAMPLE.write_text(described(usage_async), "utf-8")
