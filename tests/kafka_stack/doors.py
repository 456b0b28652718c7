"""Further listeners of a broker, as production has them: with logins, clients' certificates, a wrong name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.app.certificates import certificate
from tests.kafka_stack.program import free_ports

_SCRAM = "SCRAM-SHA-512"


class Doors:
    """The addresses, and the certificates that a client needs for them.

    `login` is encrypted and asks for one of `users` (SCRAM or PLAIN), `certified` for a client's certificate,
    `elsewhere` shows the certificate of another host.
    """

    def __init__(self, folder: Path, users: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        self.folder, self.users = folder, dict(users)
        self._ports = dict(zip(("login", "certified", "elsewhere"), free_ports(3), strict=True))
        authority: Any = certificate("authority", folder)
        certificate("broker", folder, authority)
        certificate("elsewhere", folder, authority, host="broker.example")
        certificate("client", folder, authority)
        certificate("stranger", folder)
        for name in ("broker", "elsewhere"):
            both = (folder / f"{name}.key").read_text() + (folder / f"{name}.crt").read_text()
            (folder / f"{name}.pem").write_text(both)

    def file(self, name: str) -> str:
        """The path of a certificate or key."""
        return str(self.folder / name)

    def at(self, name: str) -> str:
        """`host:port` of a listener."""
        return f"127.0.0.1:{self._ports[name]}"

    @property
    def listeners(self) -> list[str]:
        return [f"{name.upper()}://{self.at(name)}" for name in self._ports]

    @property
    def protocols(self) -> list[str]:
        return ["LOGIN:SASL_SSL", "CERTIFIED:SSL", "ELSEWHERE:SSL"]

    @property
    def format_arguments(self) -> list[str]:
        """What the data folder must hold from the beginning."""
        return [
            word
            for user, password in self.users.items()
            for word in ("--add-scram", f"{_SCRAM}=[name={user},password={password}]")
        ]

    def properties(self) -> dict[str, str]:
        modules = "org.apache.kafka.common.security"
        plain = " ".join(f'user_{user}="{password}"' for user, password in self.users.items())
        held = {
            # Whoever comes through the open door may do everything; for others it is told topic by topic.
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
            "super.users": "User:ANONYMOUS",
            "listener.name.login.sasl.enabled.mechanisms": f"PLAIN,{_SCRAM}",
            "listener.name.login.plain.sasl.jaas.config": f"{modules}.plain.PlainLoginModule required {plain};",
            "listener.name.login.scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
            "listener.name.certified.ssl.client.auth": "required",
        }
        for name in self._ports:
            shown = "elsewhere" if name == "elsewhere" else "broker"
            at = f"listener.name.{name}.ssl"
            held[f"{at}.keystore.type"] = held[f"{at}.truststore.type"] = "PEM"
            held[f"{at}.keystore.location"] = self.file(f"{shown}.pem")
            held[f"{at}.truststore.location"] = self.file("authority.crt")
        return held
