"""Runs the AR side's HTTP: inside `arsync run`, or alone as `arsync serve`.

Of several processes with one store one serves; the others stand by and take over when it has gone.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

from engine.app.config import HttpConfig
from engine.flow.intake import Door
from engine.ports.errors import ConfigError
from engine.store.unit import Connection

log = structlog.get_logger()


@contextmanager
def served(
    connect: Callable[[], Connection], doors: Mapping[str, Door], config: HttpConfig, folder: Path
) -> Iterator[int]:
    """Serve until the block ends; yields the port. Requests that are under way are answered first.

    Raises:
        ConfigError: the port is taken, or a file of TLS is missing or wrong.
    """
    import uvicorn

    from engine.app.http.application import Site

    site = Site(connect, doors, config)
    tls = tls_context(config, folder)
    settings = uvicorn.Config(
        site.application, log_config=None, access_log=False, server_header=False, lifespan="off", ws="none",
        timeout_graceful_shutdown=5, limit_concurrency=config.max_requests,
    )  # fmt: skip
    settings.load()
    settings.ssl = tls
    with _bound(config) as listening:
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, args=([listening],), name="http", daemon=True)
        thread.start()
        port = int(listening.getsockname()[1])
        log.info("the AR side is served", host=config.host, port=port, tls=tls is not None, tokens=len(config.tokens))
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join()
            site.connections.close()


def _bound(config: HttpConfig) -> socket.socket:
    try:
        return socket.create_server((config.host, config.port), family=_family(config.host), backlog=256)
    except OSError as error:
        raise ConfigError(
            f"http.port {config.port} on {config.host} cannot be used: {error.strerror or error}",
            "choose another host or port in [http], or port 0 for a free one",
        ) from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def tls_context(config: HttpConfig, folder: Path) -> ssl.SSLContext | None:
    """What HTTP is encrypted with; None where it is not. ConfigError when a file is missing or wrong."""
    tls = config.tls
    if tls.certificate is None:
        if tls.private_key is not None or tls.client_ca is not None:
            raise ConfigError("http.tls has no certificate", "name the server's certificate and its private_key")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(folder / tls.certificate, folder / tls.private_key if tls.private_key else None)
        if tls.client_ca is not None:
            context.load_verify_locations(folder / tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(name for name in (tls.certificate, tls.private_key, tls.client_ca) if name)
        raise ConfigError(f"http.tls: {named} cannot be used: {error}", "see that they are PEM files") from None
    return context
