"""Table of the commands of `usage-async`; each is imported when it runs or shows its help."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from usage_async._cli.exit_codes import ExitCode

_CORE = ("aiohttp", "attrs", "cattrs", "msgspec")


def _versions() -> str:
    import platform
    from importlib.metadata import version

    core = ", ".join(f"{name} {version(name)}" for name in _CORE)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"usage-async {version('usage-async')} ({core}, {python})"


def _completion(
    *,
    shell: Annotated[
        str | None,
        Parameter(help="bash, zsh, fish or powershell. Default: this shell."),
    ] = None,
    context: Annotated[Any, Parameter(parse=False)],
) -> None:
    from cyclopts.completion.detect import ShellDetectionError

    from usage_async.errors import QueryError

    shells: Any = shell
    try:
        path = app.install_completion(shell=shells)
    except (ShellDetectionError, ValueError):
        path = None
    if path is None:
        raise QueryError("the shell is unknown: add --shell bash, zsh, fish or powershell")
    context.out.print(f"completion installed in {path}; it works in new shells", soft_wrap=True)


app = App(
    name="usage-async",
    help="Every token and every cent of an OpenAI organization.\n\n"
    "Set OPENAI_ADMIN_KEY to an admin key, or OPENAI_ADMIN_KEY_FILE to a file with one. Without a "
    "key, --demo reads a made-up organization.",
    help_epilogue="\n".join(
        (
            "Example: usage-async report --demo",
            "",
            "Exit codes:",
            *(f"  {code:>3}  {code.meaning}" for code in ExitCode),
        )
    ),
    help_format="plaintext",
    version=_versions,
)

_APPS = {
    "fetch": "Write an endpoint's buckets to a file or a pipe.",
    "total": "Add up the figures of an endpoint, exactly.",
    "verify": "Prove that the figures of an endpoint are whole.",
}
"""Commands with a subcommand for every endpoint."""

_FUNCTIONS = {
    "report": (
        "Show who spent what, on one page. Exit code 1 if a figure but refused usage is missing.",
        "usage-async report --period 2026-10 --by user --compare",
    ),
    "explain": (
        "Tell why the bill changed: volume, price, new, gone; and the gap to an invoice.",
        "usage-async explain --period 2026-10 --invoice 5597.60",
    ),
    "reconcile": (
        "Set billed quantities beside what usage reports, for each day and model.",
        "usage-async reconcile --period 2026-10",
    ),
    "budget": (
        "Tell how a month stands beside its budget. Exit code 5 if it is over.",
        "usage-async budget --monthly 6000 --by project",
    ),
    "serve": (
        "Show the figures in a browser on this machine, with routes and metrics for programs.",
        "usage-async serve --demo",
    ),
    "collect": (
        "Collect usage and costs into a database, again and again. Exit code 1 if a feed failed.",
        "usage-async collect --to duckdb:usage.duckdb --every 1h",
    ),
    "status": (
        "Tell how far a database is, by organization and feed. Exit code 4 if one has stopped.",
        "usage-async status --max-age 3h",
    ),
    "endpoints": (
        "List the figures, groups, filters and bucket widths of each endpoint.",
        "usage-async endpoints",
    ),
    "doctor": (
        "Check key, host, TLS, proxy, clock and every endpoint. Exit code 1 if a check is bad.",
        "usage-async doctor",
    ),
    "emulate": (
        "Serve a made-up organization on this machine, with faults and quirks, for tests.",
        "usage-async emulate --port 8089 --error-rate 0.05",
    ),
}

for _place, (_name, _help) in enumerate(_APPS.items(), start=2):
    app.command(f"usage_async._cli.commands.{_name}:app", name=_name, help=_help, sort_key=_place)
for _place, (_name, (_help, _example)) in enumerate(_FUNCTIONS.items()):
    app.command(
        f"usage_async._cli.commands.{_name}:{_name}",
        name=_name,
        help=_help,
        help_epilogue=f"Example: {_example}",
        sort_key=_place * 10 + 1,
    )
app.command(
    _completion,
    name="completion",
    help="Install completion for a shell; adds a line to its startup file.",
    help_epilogue="Example: usage-async completion",
    sort_key=100,
)
