"""The command `arsync`. Each verb's file is imported only when the verb is called, so that the line answers fast."""

import importlib
import logging
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

import click

_VERBS = {
    "backup": ("backup", "backup"),
    "check": ("check", "check"),
    "commands": ("commands", "commands"),
    "conflicts": ("conflicts", "conflicts"),
    "connect-config": ("capturing", "connect_config"),
    "customers": ("documents", "customers"),
    "deadletters": ("deadletters", "deadletters"),
    "init": ("init", "init"),
    "intents": ("intents", "intents"),
    "invoices": ("documents", "invoices"),
    "journal": ("journal", "journal"),
    "machines": ("machines", "machines"),
    "migrate": ("migrate", "migrate"),
    "pause": ("pausing", "pause"),
    "privacy": ("privacy", "privacy"),
    "reconcile": ("reconcile", "reconcile"),
    "replay": ("replay", "replay"),
    "restore": ("backup", "restore"),
    "resume": ("pausing", "resume"),
    "run": ("run", "run"),
    "serve": ("serve", "serve"),
    "snapshot": ("capturing", "snapshot"),
    "status": ("status", "status"),
}
_NEEDS_NO_CONFIGURATION = ("init", "machines")


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        from engine.app.registry import VERBS, names

        return sorted({*_VERBS, *names(VERBS)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name in _VERBS:
            module, name = _VERBS[cmd_name]
            command: object = getattr(importlib.import_module(f"engine.app.verbs.{module}"), name)
        else:
            from engine.app.registry import verb

            command = verb(cmd_name)
        return command if isinstance(command, click.Command) else None


@click.group(cls=_Verbs)
@click.version_option(package_name="arsync")
@click.option("--config", metavar="FILE", help="The configuration; $ARSYNC_CONFIG or arsync.toml otherwise.")
@click.pass_context
def cli(context: click.Context, config: str | None) -> None:
    """Two-way sync between ERPs and accounts receivable."""
    from engine.app.config import Config, load_config

    # A file that is being written or mended must not stand in the way of what does not read it.
    unread = context.invoked_subcommand in _NEEDS_NO_CONFIGURATION and config is None
    context.obj = (Config(), Path.cwd()) if unread else load_config(config)


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 called wrongly."""
    from engine.ports.errors import ConnectorError

    try:
        cli.main(standalone_mode=True)
    except (ConnectorError, RuntimeError) as error:
        click.echo(f"arsync: {error}", err=True)
        _leave(1)
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            raise
        _leave(end.code or 0)


def _leave(code: int) -> None:
    """End the process. A thread that is left in a C library (a connection being made, a look at the ERP) must not
    meet what that library does while the interpreter is taken down."""
    left = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if left and all(thread.daemon for thread in left):
        logging.shutdown()
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
