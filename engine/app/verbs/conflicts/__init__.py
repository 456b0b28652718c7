"""`arsync conflicts`: where both sides disagreed, and what is done about it. One file for each verb.

A verb's file is imported when it is called, and what is heavy only where it is used, so that a list appears at once.
Exit codes: 0 done, 1 failed or not found, 2 called wrongly, 3 a choice was declined and nothing was changed.
"""

import importlib

import click

_VERBS = {
    "assign": ("noting", "assign"),
    "bulk": ("bulk", "bulk"),
    "comment": ("noting", "comment"),
    "export": ("export", "export"),
    "list": ("listing", "list_conflicts"),
    "policy": ("policy", "policy"),
    "resolve": ("resolve", "resolve"),
    "show": ("show", "show"),
    "stats": ("stats", "stats"),
    "undo": ("resolve", "undo"),
    "watch": ("watch", "watch"),
    "work": ("work", "work"),
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _VERBS:
            return None
        module, name = _VERBS[cmd_name]
        command: object = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        return command if isinstance(command, click.Command) else None


@click.group(cls=_Verbs)
def conflicts() -> None:
    """Stored disagreements between the AR side and the ERP.

    Exit codes: 0 done, 1 failed or not found, 2 called wrongly, 3 a choice was declined and nothing was changed.
    """
