"""A real Hub on loopback: Olah serves git repositories with files in LFS, nginx gives downloads the Hub's own flow.

The endpoint (nginx) answers `resolve` of a file in LFS with a redirect to a signed URL on another port, where nginx
serves byte ranges; everything else is Olah's. Olah by itself ignores ranges: the mirror that must be refused.

Olah is installed from PyPI into a virtual environment of its own; nginx is Debian's. Where they cannot be had, the
tests that need them fail, and do not skip.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from venvkit import python_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

PACKAGE = "olah==0.5.4"
LFS_SUFFIXES = (".safetensors", ".gguf", ".bin", ".model")

_IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "test"), ("EMAIL", "test@example.invalid"))
}


def install_olah() -> Path:
    """Return the path of `olah-cli`."""
    return python_of("olah", [PACKAGE]).with_name("olah-cli")


def install_nginx() -> str:
    """Return the path of `nginx`."""
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    if found := shutil.which("nginx", path=places):
        return found
    subprocess.run(["apt-get", "update", "--quiet"], check=True)
    subprocess.run(["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", "nginx-light"], check=True)
    found = shutil.which("nginx", path=places)
    if found is None:
        raise RuntimeError("nginx cannot be installed: apt-get install nginx-light")
    return found


@dataclass(slots=True)
class OlahHub:
    """Both servers, with the repositories below `folder`.

    Attributes
    ----------
    gated, limited : set of str
        Repositories whose files are for those who accepted terms; that take two requests a second.
    trickle : bool
        The storage host sends 20 KB a second, so that a connection can be cut in mid-range.
    """

    folder: Path
    gated: set[str] = field(default_factory=set)
    limited: set[str] = field(default_factory=set)
    trickle: bool = False
    _signature: int = 1
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _ports: tuple[int, int, int] = (0, 0, 0)

    @property
    def bare(self) -> str:
        """Endpoint of Olah alone."""
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports[1]}"

    def publish(self, repo: str, source: Path, *, ref: str = "main") -> str:
        """Commit the files below `source`; weights go into LFS."""
        git = self.folder / "mirrors" / "models" / repo
        if not git.exists():
            git.mkdir(parents=True)
            _git(git, "init", "--quiet", "--initial-branch", "main")
        _git(git, "rm", "-r", "-q", "--ignore-unmatch", ".")
        for path in (path for path in source.rglob("*") if path.is_file()):
            place = git / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.name.endswith(LFS_SUFFIXES):
                place.write_text(_store(git, path))
            else:
                shutil.copyfile(path, place)
        _git(git, "add", "--all")
        _git(git, "commit", "--quiet", "--allow-empty", "--message", "publish")
        commit = _git(git, "rev-parse", "HEAD")
        if ref != "main":
            _git(git, "update-ref", f"refs/heads/{ref}", commit)
            _git(git, "reset", "--quiet", "--hard", "HEAD~1")
        return commit

    def expire(self) -> None:
        """Let every URL signed so far be over its time."""
        self._signature += 1
        self.reload()

    def reload(self) -> None:
        """Put changed settings into force."""
        before = set(self._workers())
        self._configure()
        self._processes[1].send_signal(signal.SIGHUP)
        _until(lambda: bool(workers := set(self._workers())) and not workers & before)

    def cut(self) -> None:
        """Kill the process that is sending, with every connection it has; another one takes its place."""
        before = self._workers()
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        _until(lambda: bool(set(self._workers()) - set(before)))

    def logged(self) -> str:
        """Return everything that both servers wrote down, headers with credentials included."""
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))

    def __enter__(self) -> Self:
        commands = install_olah(), install_nginx()
        self._ports = _free_ports()
        self._configure()
        (self.folder / "olah.toml").write_text(
            f'[basic]\nhost = "127.0.0.1"\nport = {self._ports[0]}\nrepos-path = "{self.folder}/repos"\n'
            f'mirrors-path = ["{self.folder}/mirrors"]\nhf-scheme = "http"\nhf-netloc = "127.0.0.1:9"\n'
            "[accessibility]\noffline = true\n"
        )
        olah = [str(commands[0]), "--config", str(self.folder / "olah.toml"), "--log-path", str(self.folder / "logs")]
        nginx = [commands[1], "-c", str(self.folder / "nginx.conf"), "-e", str(self.folder / "error.log")]
        try:
            for name, command in (("olah", olah), ("nginx", nginx)):
                with (self.folder / f"{name}-output.log").open("wb") as output:
                    self._processes.append(subprocess.Popen(command, stdout=output, stderr=output, cwd=self.folder))
            _until(lambda: _answers(self.bare) and _answers(self.endpoint), seconds=60)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.wait(20)

    def _workers(self) -> list[int]:
        master = self._processes[1].pid
        return [int(child) for child in Path(f"/proc/{master}/task/{master}/children").read_text().split()]

    def _configure(self) -> None:
        olah, endpoint, storage = self._ports
        rates = "limit_rate 20k;" if self.trickle else ""
        (self.folder / "maps.conf").write_text(self._maps())
        user = "user root;" if os.geteuid() == 0 else ""
        temporary = " ".join(
            f"{kind}_temp_path {self.folder}/{kind}-scratch;"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        gated = "".join(
            f"location ^~ /{repo}/resolve/ {{ add_header X-Error-Code GatedRepo always; return 403; }}\n"
            for repo in self.gated
        )
        limited = "".join(
            f"location ^~ /api/models/{repo}/ {{ limit_req zone=few; limit_req_status 429; rewrite {_SLASH}; "
            f"proxy_pass http://127.0.0.1:{olah}; }}\n"
            for repo in self.limited
        )
        (self.folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {self.folder}/nginx.pid; {user}
events {{}}
http {{
  log_format full '$server_port "$request" $status $http_authorization';
  access_log {self.folder}/access.log full; {temporary}
  map_hash_bucket_size 512; map_hash_max_size 8192;
  limit_req_zone $server_port zone=few:1m rate=2r/s;
  map $uri $file {{ "~^/(?<repo>[^/]+/[^/]+)/resolve/(?<rest>.+)$" "$repo/$rest"; default ""; }}
  map $uri $commit {{ "~^/[^/]+/[^/]+/resolve/(?<id>[^/]+)/" "$id"; default ""; }}
  include {self.folder}/maps.conf;
  server {{
    listen 127.0.0.1:{storage};
    location / {{ return 404; }}
    location ~ ^/cdn/(?<org>[^/]+)/(?<name>[^/]+)/(?<one>..)(?<two>..)(?<left>[0-9a-f]+)$ {{
      if ($arg_sig != "{self._signature}") {{ return 403; }}
      {rates}
      alias {self.folder}/mirrors/models/$org/$name/.git/lfs/objects/$one/$two/$one$two$left;
    }}
  }}
  server {{
    listen 127.0.0.1:{endpoint};
    {gated}{limited}
    location ~ /resolve/ {{
      if ($sha256) {{
        add_header X-Repo-Commit $commit always;
        add_header X-Linked-Etag '"$sha256"' always;
        add_header X-Linked-Size $size always;
        return 302 http://127.0.0.1:{storage}/cdn/$of/$sha256?sig={self._signature};
      }}
      proxy_pass http://127.0.0.1:{olah};
    }}
    location / {{ rewrite {_SLASH}; proxy_pass http://127.0.0.1:{olah}; proxy_set_header Host $http_host; }}
  }}
}}
""")

    def _maps(self) -> str:
        rows: dict[str, dict[str, str]] = {"sha256": {}, "size": {}, "of": {}}
        for git in sorted((self.folder / "mirrors" / "models").glob("*/*")):
            repo = f"{git.parent.name}/{git.name}"
            for commit in _git(git, "rev-list", "--all").split():
                for path in _git(git, "ls-tree", "-r", "--name-only", commit).splitlines():
                    if path.endswith(LFS_SUFFIXES):
                        pointer = _git(git, "show", f"{commit}:{path}").split()
                        key = f"{repo}/{commit}/{path}"
                        rows["sha256"][key] = pointer[3].removeprefix("sha256:")
                        rows["size"][key], rows["of"][key] = pointer[5], repo
        return "".join(
            f'map $file ${variable} {{ default "";\n'
            + "".join(f'"{key}" "{row}";\n' for key, row in table.items())
            + "}\n"
            for variable, table in rows.items()
        )


_SLASH = "^(/api/models/[^/]+/[^/]+/tree/[^/]+)$ $1/ break"  # Olah's own form of the path


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "core.autocrlf=false", *arguments]
    done = subprocess.run(command, cwd=folder, env=os.environ | _IDENTITY, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _store(git: Path, path: Path) -> str:
    """Put a file where git-lfs keeps it; return its pointer."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    place = git / ".git" / "lfs" / "objects" / digest[:2] / digest[2:4] / digest
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, place)
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {path.stat().st_size}\n"


def _free_ports() -> tuple[int, int, int]:
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        for listener in (one, two, three):
            listener.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1], three.getsockname()[1]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/", timeout=5):  # noqa: S310 - our own loopback server
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False


def _until(true: Callable[[], bool], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("a server of the tests does not come up")
        time.sleep(0.05)
