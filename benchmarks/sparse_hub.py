"""A stand-in for the Hub that sends ranges straight out of files on disk, however large, and counts what it is asked.

    python benchmarks/sparse_hub.py FOLDER HOST DELAY      # FOLDER/org/name/files; DELAY in ms per round trip

The flow is the Hub's: `revision`, `tree` and `paths-info` with LFS digests; `resolve` sends a small file itself and
redirects for one in LFS to a second origin, the storage host, which answers 206 to ranges. Digests of weights are made
up, for hashing sparse files would take longer than everything else. The first line printed is the endpoint; for each
line of input, one of JSON follows: requests since the line before, by kind, and bytes sent.

With a delay, every answer waits that long, and so does every new connection, for its handshake. Bandwidth is that of
the machine, and TCP's slow start costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

LFS_SUFFIXES = (".safetensors", ".model")
COMMIT = hashlib.sha1(b"sparse", usedforsecurity=False).hexdigest()

_INFO = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/[^/]+)?")
_TREE = re.compile(r"/api/models/([^/]+/[^/]+)/(?:tree|paths-info)/[^/]+/?")
_BATCH = re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch")
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)")
_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")


class Stored(NamedTuple):
    """A file of a repository, as the list of files has it."""

    path: Path
    size: int
    blob: str
    sha256: str | None

    def entry(self, name: str) -> dict[str, object]:
        """Return the record of `tree`."""
        lfs = {"lfs": {"oid": self.sha256, "size": self.size, "pointerSize": 134}} if self.sha256 else {}
        return {"type": "file", "path": name, "size": self.size, "oid": self.blob, **lfs}


def stored(path: Path) -> Stored:
    """Describe a file: real digests of what is small, made-up ones of weights."""
    size = path.stat().st_size
    if path.name.endswith(".safetensors"):
        made_up = hashlib.sha256(str(path).encode()).hexdigest()
        return Stored(path, size, made_up[:40], made_up)
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest() if path.name.endswith(LFS_SUFFIXES) else None
    if sha256:
        content = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    return Stored(path, size, hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest(), sha256)  # noqa: S324


class Hub:
    """What both servers share: repositories by name, seconds to wait, and the URL of the storage host."""

    def __init__(self, repositories: dict[str, dict[str, Stored]], delay: float) -> None:
        self.repositories = repositories
        self.delay = delay
        self.storage = ""
        self.by_digest = {f.sha256: f for files in repositories.values() for f in files.values() if f.sha256}
        self._counts: Counter[str] = Counter()
        self._counting = threading.Lock()

    def count(self, **more: int) -> None:
        """Add to what is counted."""
        with self._counting:
            self._counts.update(more)

    def counts(self) -> dict[str, int]:
        """Return what was counted, and begin anew."""
        with self._counting:
            counted, self._counts = dict(self._counts), Counter()
        return counted


class Server(ThreadingHTTPServer):
    """One origin."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub: Hub, host: str, handler: type[Origin]) -> None:
        super().__init__((host, 0), handler)
        self.hub = hub
        self.url = f"http://{host}:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Clients hang up when they have what they want."""


class Origin(BaseHTTPRequestHandler):
    """What the endpoint and the storage host have in common."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        """Let the handshake take its time."""
        super().setup()
        self.hub = self.server.hub
        time.sleep(self.hub.delay)

    def log_message(self, *_: object) -> None:
        """Keep stderr clean."""

    def do_HEAD(self) -> None:
        """As GET, without the body."""
        self.do_GET()

    def do_POST(self) -> None:
        """As GET: `paths-info`, whose form names the paths."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer one request."""
        path = unquote(urlsplit(self.path).path)
        time.sleep(self.hub.delay)
        self.answer(path)

    def answer(self, path: str) -> None:
        """Answer what was asked of this origin."""
        raise NotImplementedError

    def send_json(self, value: object) -> None:
        """Send a value."""
        self.send_bytes(json.dumps(value).encode(), {"Content-Type": "application/json", "X-Repo-Commit": COMMIT})

    def send_bytes(self, body: bytes, headers: dict[str, str], *, status: int = HTTPStatus.OK) -> None:
        """Send a short body."""
        self._begin(status, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)
            self.hub.count(bytes=len(body))

    def send_file(self, file: Stored, headers: dict[str, str]) -> int:
        """Send a file, or the range of it that was asked for; return where it begins."""
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        start, stop = (int(asked[1]), min(int(asked[2]) + 1, file.size)) if asked else (0, file.size)
        if asked:
            headers |= {"Content-Range": f"bytes {start}-{stop - 1}/{file.size}"}
        self._begin(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK, stop - start, headers)
        if self.command == "HEAD":
            return start
        with file.path.open("rb") as content:
            at = start
            while at < stop and (sent := os.sendfile(self.connection.fileno(), content.fileno(), at, stop - at)):
                at += sent
                self.hub.count(bytes=sent)
        return start

    def _begin(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(length)} | headers).items():
            self.send_header(name, value)
        self.end_headers()


class Endpoint(Origin):
    """The Hub itself."""

    def answer(self, path: str) -> None:
        """Answer the API, and `resolve`."""
        form = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if (match := _INFO.fullmatch(path)) and match[1] in self.hub.repositories:
            self.hub.count(api=1)
            names = [{"rfilename": name} for name in self.hub.repositories[match[1]]]
            self.send_json({"_id": "0", "id": match[1], "sha": COMMIT, "siblings": names})
        elif (match := _TREE.fullmatch(path)) and match[1] in self.hub.repositories:
            self.hub.count(api=1)
            files = self.hub.repositories[match[1]]
            wanted = {value for key, value in parse_qsl(form.decode()) if key == "paths"} or files.keys()
            self.send_json([file.entry(name) for name, file in files.items() if name in wanted])
        elif (match := _BATCH.fullmatch(path)) and match[1] in self.hub.repositories:
            self.hub.count(batch=1)
            objects = [
                {**record, "actions": {"download": {"href": f"{self.hub.storage}/{record['oid']}?sig=1"}}}
                for record in json.loads(form)["objects"]
            ]
            self.send_json({"transfer": "basic", "objects": objects})
        elif (match := _RESOLVE.fullmatch(path)) and match[2] in self.hub.repositories.get(match[1], {}):
            self._resolve(self.hub.repositories[match[1]][match[2]])
        else:
            self.hub.count(other=1)
            self.send_bytes(b"{}", {}, status=HTTPStatus.NOT_FOUND)

    def _resolve(self, file: Stored) -> None:
        headers = {"X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if file.sha256 is None:
            self.hub.count(small=1)
            self.send_file(file, headers | {"ETag": f'"{file.blob}"'})
            return
        self.hub.count(redirects=1)
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        headers |= {"Location": f"{self.hub.storage}/{file.sha256}?sig=1"}
        self.send_bytes(b"Found. Redirecting", headers, status=HTTPStatus.FOUND)


class Storage(Origin):
    """The host behind signed URLs."""

    def answer(self, path: str) -> None:
        """Answer with a file, or a range of it."""
        file = self.hub.by_digest[path.strip("/")]
        start = self.send_file(file, {"ETag": f'"{file.blob}"', "Accept-Ranges": "bytes"})
        self.hub.count(**{"rows" if start else "heads": 1})


def main() -> None:
    """Serve until the input ends."""
    folder, host, delay = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]) / 1000
    repositories = {
        f"{repo.parent.name}/{repo.name}": {
            str(path.relative_to(repo)): stored(path) for path in sorted(repo.rglob("*")) if path.is_file()
        }
        for repo in sorted(folder.glob("*/*"))
    }
    hub = Hub(repositories, delay)
    storage, endpoint = Server(hub, host, Storage), Server(hub, host, Endpoint)
    hub.storage = storage.url
    for server in (storage, endpoint):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(endpoint.url, flush=True)
    for _ in sys.stdin:
        print(json.dumps(hub.counts()), flush=True)


if __name__ == "__main__":
    main()
