"""Why no broker answers: kafka-python only says that it could not reach any, and keeps the cause to its log.

`cluster.sentences` and the feed ask when a client could not begin. One connection is made to each broker that is
named, in the way in which the client would make it; what stops it is told in words, with what to do about it.
"""

import socket
import ssl
import struct
from typing import Final, NamedTuple

from kafka.net.sasl import get_sasl_mechanism

from connectors.debezium.kafka.settings import Brokers, Security, addresses

_SECONDS: Final = 3.0
_ASK: Final = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""ApiVersions, version 0, without a client's name: every broker answers it before any login."""


class Cause(NamedTuple):
    """What is wrong, and what to do about it. `refused`: it is the login, so trying again is of no use."""

    said: str
    fix: str
    refused: bool = False


def why_silent(options: Brokers) -> Cause | None:
    """What stops a connection to the first broker that cannot be spoken to; None when all can be."""
    for host, port in addresses(options.bootstrap):
        cause = _ask(host, port, options.security)
        if cause is not None:
            return cause
    return None


def _ask(host: str, port: int, security: Security) -> Cause | None:
    where = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), _SECONDS) as plain:
            if not security.tls:
                return _plain(plain, where) or _log_in_if_asked(plain, security, host)
            with _context(security).wrap_socket(plain, server_hostname=host) as held:
                # A broker that wants a certificate of ours says so only after the handshake.
                return _answers(
                    held, where, f"{where} takes no client without a certificate that it trusts",
                    "set security.certificate and security.key",
                ) or _log_in_if_asked(held, security, host)  # fmt: skip
    except ssl.SSLCertVerificationError as error:
        return Cause(
            f"the certificate of {where} is not accepted: {error.verify_message}",
            "set security.ca to the authority that has signed it; where it names another host, correct bootstrap "
            "(or, knowing what that means, set security.check_hostname to false)",
        )
    except ssl.SSLError as error:
        return _not_tls(where, error, security)
    except OSError as error:
        return Cause(f"{where} cannot be reached: {error}", "see that the broker runs, and correct bootstrap")


def _plain(plain: socket.socket, where: str) -> Cause | None:
    return _answers(plain, where, f"{where} hangs up on what is not encrypted", "set security.tls to true")


def _answers(held: socket.socket, where: str, otherwise: str, fix: str) -> Cause | None:
    """Whether a request is answered; a server that speaks another protocol hangs up or says something else."""
    try:
        held.sendall(_ASK)
        said = _take(held, 8)
    except TimeoutError:
        return Cause(f"{where} does not answer a request", "see that a Kafka broker listens there")
    except ConnectionError:
        said = b""
    if said[4:] == _ASK[8:12]:
        _take(held, struct.unpack(">i", said[:4])[0] - 4)
        return None
    return Cause(otherwise, fix)


def _log_in_if_asked(held: socket.socket, security: Security, host: str) -> Cause | None:
    return _log_in(held, security, host) if security.user is not None else None


def _log_in(held: socket.socket, security: Security, host: str) -> Cause | None:
    """What the broker says to our login. The client may see no more of it than that the broker hangs up."""
    mechanism = get_sasl_mechanism(security.mechanism)(
        host=host, sasl_mechanism=security.mechanism, sasl_plain_username=security.user,
        sasl_plain_password=security.password,
    )  # fmt: skip
    try:
        name = security.mechanism.encode()
        code, rest = _exchange(held, 17, 1, struct.pack(f">h{len(name)}s", len(name), name))
        if code:
            return Cause(f"{security.mechanism} is not offered", "set source.security.mechanism", refused=True)
        while not mechanism.is_done():
            token = mechanism.auth_bytes()
            code, rest = _exchange(held, 36, 0, struct.pack(f">i{len(token)}s", len(token), token))
            (size,) = struct.unpack_from(">h", rest)
            if code:
                return Cause(rest[2 : 2 + size].decode(errors="replace"), "correct source.security", refused=True)
            mechanism.receive(rest[2 + max(size, 0) + 4 :])
    except ConnectionError:
        return Cause("the broker hangs up at it", "correct source.security", refused=True)
    return None


def _exchange(held: socket.socket, kind: int, version: int, body: bytes) -> tuple[int, bytes]:
    """One request of the login; the answer's error code and what follows it."""
    head = struct.pack(">hhih", kind, version, 2, -1)
    held.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
    (size,) = struct.unpack(">i", _take(held, 4))
    answer = _take(held, size)
    return struct.unpack_from(">h", answer, 4)[0], answer[6:]


def _take(held: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        part = held.recv(size - len(got))
        if not part:
            raise ConnectionResetError
        got += part
    return got


def _not_tls(where: str, error: ssl.SSLError, security: Security) -> Cause:
    reason = str(error.reason or error)
    if "ALERT" in reason or "CERTIFICATE_REQUIRED" in reason:
        fix = "let the brokers trust security.certificate" if security.certificate else "set security.certificate"
        return Cause(f"{where} refuses us in the handshake: {reason}", f"{fix} and security.key")
    return Cause(
        f"{where} does not speak TLS as it is asked to: {reason}",
        "name the brokers' encrypted listener in bootstrap, or set security.tls to false",
    )


def _context(security: Security) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=security.ca)
    context.check_hostname = security.check_hostname
    if security.certificate is not None:
        context.load_cert_chain(security.certificate, security.key)
    return context
