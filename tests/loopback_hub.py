"""A Hub on this machine with one model, which breaks connections and refuses requests as a test asks it to."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """
    files     of the model, by name
    cut       files of which the next GET sends a half
    broken    files that are refused with status 503
    gated     whether a licence must be accepted; accepted: the tokens of accounts that have
    fetched   the files that were sent to their end, with the first byte of each GET
    """

    model: str
    files: Mapping[str, bytes]
    url: str = ""
    cut: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    gated: bool = False
    accepted: tuple[str, ...] = ()
    fetched: list[tuple[str, int]] = field(default_factory=list)

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Variables for a process that uses this Hub, with its cache in `home`."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE_"))}
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return inherited | own | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"} | more


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:  # noqa: N802
        self.answer(with_body=False)

    def do_GET(self) -> None:  # noqa: N802
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        api, files = f"/api/models/{self.hub.model}", f"/{self.hub.model}/resolve/"
        name = path.removeprefix(files).partition("/")[2]
        if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            siblings = [{"rfilename": each} for each in self.hub.files]
            self.json({"id": self.hub.model, "sha": COMMIT, "siblings": siblings, "tags": [], "gated": self.hub.gated})
        elif path in (f"{api}/tree/main", f"{api}/tree/{COMMIT}"):
            tree = [
                {"type": "file", "path": each, "size": len(content), "oid": sha256(content).hexdigest()[:40]}
                for each, content in self.hub.files.items()
            ]
            self.json(tree)
        elif path.startswith(files) and name in self.hub.files:
            self.file(name, with_body)
        elif path.startswith((api, files)):
            self.refuse(404, "EntryNotFound")
        else:
            self.refuse(401, "RepoNotFound")

    def file(self, name: str, with_body: bool) -> None:
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        if self.hub.gated and token not in self.hub.accepted:
            self.refuse(403 if token else 401, "GatedRepo")
            return
        if with_body and name in self.hub.broken:
            self.refuse(503, "")
            return
        content, requested = self.hub.files[name], self.headers["Range"]
        first, _, last = (requested or "").removeprefix("bytes=").partition("-")
        start, end = int(first or 0), int(last or len(content) - 1) + 1
        part = content[start:end]
        self.send_response(206 if requested else 200)
        self.send_header("ETag", f'"{sha256(content).hexdigest()[:40]}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(part)))
        if requested:
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
        self.end_headers()
        if not with_body:
            return
        if not last:  # a request with an end reads the header of a file
            self.hub.fetched.append((name, start))
        if name in self.hub.cut:
            self.hub.cut.discard(name)
            self.close_connection = True
            part = part[: len(part) // 2]
        self.wfile.write(part)

    def json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Run the Hub until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
