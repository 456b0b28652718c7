"""`python -m benchmarks NAME`: one file or folder for each benchmark, imported only when it is called.

Every benchmark reports progress on standard error, and with `--json` one object as the last line of standard output.
It exits with 1 when what it measured did not happen as it should have.
"""

import importlib

import click

_BENCHMARKS = {
    "conflicts": ("benchmarks.conflicts", "conflicts"),
    "ingest": ("benchmarks.ingest.verb", "ingest"),
    "latency": ("benchmarks.latency.verb", "latency"),
    "memory": ("benchmarks.scale.memory", "memory"),
    "plots": ("benchmarks.plots.verb", "plots"),
    "recovery": ("benchmarks.recovery", "recovery"),
    "replay": ("benchmarks.replay.verb", "replay"),
    "scale": ("benchmarks.scale.verb", "scale"),
    "source": ("benchmarks.source.verb", "source"),
    "writeback": ("benchmarks.writeback.verb", "writeback"),
}


class _Benchmarks(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(_BENCHMARKS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _BENCHMARKS:
            return None
        module, name = _BENCHMARKS[cmd_name]
        command: object = getattr(importlib.import_module(module), name)
        return command if isinstance(command, click.Command) else None


@click.group(cls=_Benchmarks)
def benchmarks() -> None:
    """Benchmarks of arsync. See docs/benchmarks.md for what they mean."""


if __name__ == "__main__":
    benchmarks(prog_name="python -m benchmarks")
