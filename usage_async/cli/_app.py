"""The commands of `usage-async`, and their help."""

from __future__ import annotations

from cyclopts import App

app = App(
    name="usage-async",
    help="Every token and every cent of an OpenAI organization.\n\n"
    "Set OPENAI_ADMIN_KEY (or OPENAI_ADMIN_KEY_FILE) to an admin key, or try any command with "
    "--demo, on a made-up organization.",
    help_epilogue="Example: usage-async report --demo",
    help_format="plaintext",
    version_flags=["--version"],
)

_COMMANDS = (
    ("report", "_report_command:report", "Who spent what, on one screen."),
    ("fetch", "_fetch_command:app", "Write an endpoint's figures to a file or a pipe."),
    ("total", "_total_command:app", "Add an endpoint's figures up, exactly."),
    ("verify", "_verify_command:app", "Prove that an endpoint's figures are whole."),
    ("endpoints", "_endpoints_command:endpoints", "What each endpoint takes and gives."),
    ("emulate", "_emulate_command:emulate", "Serve a made-up organization, for tests."),
)
for _name, _place, _help in _COMMANDS:
    app.command(f"usage_async.cli.{_place}", name=_name, help=_help)
