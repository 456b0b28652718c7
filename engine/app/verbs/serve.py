"""`arsync serve`: the AR side alone, beside daemons that run elsewhere."""

from pathlib import Path

import click

from engine.app.config import Config


@click.command()
@click.option(
    "--ready-file", type=click.Path(dir_okay=False), help="Written (JSON: pid, http) once requests are taken."
)
@click.pass_obj
def serve(settings: tuple[Config, Path], ready_file: str | None) -> None:
    """Serve the AR side over HTTP and its feeds until stopped, without reading or writing an ERP.

    `arsync run` does the same beside its daemon. Of several processes with one store one serves, the others stand by.
    """
    from engine.app.ar_side import ar_side
    from engine.app.logs import set_up_logs
    from engine.app.ready import Ready
    from engine.app.stopping import Stop
    from engine.app.wiring import open_store
    from engine.flow.vitals import Vitals
    from engine.ports.errors import ConfigError

    config, folder = settings
    set_up_logs(config.log, folder)
    if not config.tells_ar:
        raise ConfigError("there is nothing to serve", "name a token in [http.tokens], or configure a feed in [ar]")
    stop = Stop()
    stop.listen()
    with open_store(config, folder) as store, ar_side(store, config, folder, Vitals("ar").report) as side:
        ready = Ready(ready_file, None)
        ready.http = side.port
        ready.say("ar")
        stop.event.wait()
