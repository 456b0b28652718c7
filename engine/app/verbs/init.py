"""`arsync init`: write a commented configuration to start from."""

from pathlib import Path

import click

_HEAD = """\
# arsync's configuration. Every setting is here; those behind a single # show their default.
# Secrets never stand in this file: a secret setting x is given as x_env (the name of an environment variable)
# or x_file (a file that holds it, relative to this one).

[log]
# format = "console"            # or "json"
# file = "arsync.log"           # instead of standard error; relative to this file
# megabytes = 20                # a larger one is set aside,
# keep = 5                      # and so many older ones stay

[store]
# folder = ".arsync"            # arsync runs its own PostgreSQL here, unless a dsn is given:
# dsn_env = "ARSYNC_DSN"        # postgresql://user:password@host:port/database, the daemon's login
# owner_dsn_env = "ARSYNC_OWNER_DSN"   # the login that owns the tables; used by `arsync migrate` alone

[daemon]
# port = 9464                   # /health and /metrics on 127.0.0.1; 0 chooses a free port
# batch_size = 5000             # records applied and committed together
# quiet_seconds = 1.0           # without a record for this long, transactions without an end are closed
# brake = 100                   # more unreadable records or documents in a row stop the source
# most_letters = 10000          # and so do more open dead letters
"""
_AR_SIDE = """
[http]
# host = "127.0.0.1"            # the AR side's HTTP; served where a token is named below
# port = 9465                   # 0 chooses a free port
# max_body = 1048576            # bytes of a request
# max_requests = 200            # under way at once

[http.tokens]
# cash-app = { token_env = "ARSYNC_HTTP_TOKEN" }       # at least 16 characters; its name stands in the journal
# dashboard = { token_file = "dashboard.token", may = "read" }

[http.tls]
# certificate = "server.crt"    # PEM; without it HTTP is not encrypted
# private_key = "server.key"
# client_ca = "clients.crt"     # clients must show a certificate of this authority, besides their token

[outbound]
# keep_hours = 168              # what the AR side was told is kept this long, and until every feed has published it
# personal = false              # true: feeds publish names and addresses of customers too

[journal]
# checkpoint_every = "6h"       # s, m, h or d. Without it: never, but for `arsync journal checkpoint`
# checkpoint_file = "points.jsonl"   # their lines; keep it where the database's owner cannot write
# checkpoint_key = "ed25519.pem"     # signs them
"""
_FEED = """
[ar.{name}]
{example}"""
_SYSTEM = """
[systems.{name}]
connector = "{connector}"
# mode = "write"                # or "observe": read and decide, write nothing; see `arsync commands list --would`
# start_date = 2026-01-01       # invoices of before are mirrored, and left to people
# invoices_named_by = "key"     # what intents call an invoice: "key", "number", or "either"

{example}
[systems.{name}.limits]
# per_second = 2                # the pace of sends; without it as fast as the ERP answers
# commands_per_hour = 1000      # more within an hour pauses the system until `arsync resume`
# money_per_hour = {{ EUR = "250000", USD = "100000" }}

[systems.{name}.reconcile]
# every = "6h"                  # hold every document against the ERP's API; s, m, h or d. Without it: never
# repair = false                # true reads the rows of what differs again, with their position
# patience_seconds = 60         # how long to wait for the mirror, each time

[systems.{name}.policy]
# settle_seconds = 300          # an accepted command waits this long for its echo
# unknown_document_seconds = 900   # an intent waits this long for a document that the ERP has not told of
# retry_seconds = 2             # pause before a command is tried again
# most_stales = 20              # more refusals of a guard in a row call a person
# most_retries = 3              # a choice of retry sends again this often, then a person is called
# most_losses = 10              # an answer lost so often, with nothing done each time, calls a person
# undo_seconds = 30             # a person's choice can be undone this long before it is carried out
# in_doubt_seconds = 900        # a person is told when it is unknown for longer whether a command was done
# exemptions = [{{ kinds = ["erp_rejected"], company = "1", currency = "EUR", up_to = "5", choice = "accept_erp" }}]

[systems.{name}.policy.choices]
# One line for each kind of conflict: accept_erp, rebase, retry or hold (a person chooses). Defaults:
{choices}"""


@click.command()
@click.argument("file", type=click.Path(dir_okay=False), default="arsync.toml")
@click.option("--connector", help="For which ERP; needed only when several connectors are installed.")
@click.option("--system", default=None, help="The system's name; the connector's otherwise.")
@click.option("--print", "print_", is_flag=True, help="Print it instead of writing FILE.")
def init(file: str, connector: str | None, system: str | None, print_: bool) -> None:  # noqa: FBT001
    """Write a commented FILE (arsync.toml) with every setting; an existing file is never overwritten."""
    text = _text(connector, system)
    if print_:
        click.echo(text, nl=False)
        return
    try:
        with Path(file).open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise click.ClickException(f"{file} exists; `arsync init --print` shows what would be written") from None
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from None
    click.echo(f"{file} written; fill in its system, then `arsync check`")


def _text(connector: str | None, system: str | None) -> str:
    from engine.app import registry
    from engine.rules.policy import DEFAULT_CHOICES

    installed = registry.names(registry.CONNECTORS)
    if connector is None and len(installed) != 1:
        raise click.UsageError(
            f"which ERP? name one with --connector; installed are: {', '.join(installed) or 'none'}"
        )
    chosen = connector or installed[0]
    name = system or chosen
    if not name.replace("-", "").replace("_", "").isalnum():
        raise click.UsageError(f"system name {name!r} may hold letters, digits, - and _ only")
    example = registry.connector(chosen).example.format(name=name)
    choices = "".join(f'# {kind} = "{choice}"\n' for kind, choice in DEFAULT_CHOICES.items())
    feeds = "".join(
        _FEED.format(name=one, example=registry.feed(one).example) for one in registry.names(registry.FEEDS)
    )
    return _HEAD + _AR_SIDE + feeds + _SYSTEM.format(name=name, connector=chosen, example=example, choices=choices)
