"""A Hugging Face hub on this machine: as much of it as fetching files takes.

    with StandInHub({"owner/name": {"model.bin": b"..."}}) as hub:
        use_hub(monkeypatch, hub.url, cache_folder)
        ...

It answers what huggingface_hub asks: the repository's information with its files, their headers,
and their bytes, whole or from a position on. It can be told to fail as networks and hubs do.
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import pytest

Files = Mapping[str, bytes]

_INFO = re.compile(r"/api/models/(?P<repository>[^/]+/[^/]+)(/revision/[^/]+)?")
_TREE = re.compile(r"/api/models/(?P<repository>[^/]+/[^/]+)/tree/[^/]+/?")
_FILE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/[^/]+/(?P<name>.+)")
_PIECE_BYTES = 64 * 1024


@dataclass(slots=True, kw_only=True)
class Faults:
    """How the hub misbehaves; change it while the hub runs.

    `cuts` is the number of downloads that are still to be broken off after `cut_after_bytes`, each
    on a closed connection. `statuses` answers requests in turn with HTTP statuses instead of
    content (0 answers well); `error_code` is the hub's own code beside it, such as `GatedRepo`.
    `only` restricts all of these to requests whose path contains it.
    """

    cuts: int = 0
    cut_after_bytes: int = 0
    statuses: list[int] = field(default_factory=list)
    error_code: str = ""
    piece_delay_s: float = 0.0
    only: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it came. `range` and `authorization` are its headers, empty without them."""

    method: str
    path: str
    range: str
    authorization: str


class StandInHub:
    """Serves the given files of the given repositories (name to file name to content).

    `url` is what belongs into HF_ENDPOINT; `asked` holds every request in the order it came.
    """

    def __init__(self, repositories: Mapping[str, Files]) -> None:
        self.repositories = {name: dict(files) for name, files in repositories.items()}
        self.faults = Faults()
        self.asked: list[Asked] = []
        self._lock = threading.Lock()

    def __enter__(self) -> "StandInHub":
        handler = type("BoundHandler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The address of the hub, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def commit_of(self, repository: str) -> str:
        """The commit of the branch `main`: other files, another commit."""
        digest = hashlib.sha1(repository.encode(), usedforsecurity=False)
        for name, content in sorted(self.repositories[repository].items()):
            digest.update(name.encode() + content)
        return digest.hexdigest()

    def take_status(self, path: str) -> int:
        """The HTTP status to fail this request with, 0 for none."""
        with self._lock:
            faulty = self.faults.statuses and self.faults.only in path
            return self.faults.statuses.pop(0) if faulty else 0

    def take_cut(self, path: str) -> int | None:
        """After how many bytes to break this download off, None for not at all."""
        with self._lock:
            if self.faults.cuts <= 0 or self.faults.only not in path:
                return None
            self.faults.cuts -= 1
            return self.faults.cut_after_bytes


def serve_folder(folder: Path) -> Files:
    """The files of a folder, as `StandInHub` takes them."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    """Have this process, and the commands that it starts, use the hub at `url` and that cache."""
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ClassVar[StandInHub]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Nothing: tests read `asked`."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(
            Asked(
                method=self.command,
                path=path,
                range=self.headers.get("Range", ""),
                authorization=self.headers.get("Authorization", ""),
            )
        )
        if status := self.hub.take_status(path):
            self._refuse(status, self.hub.faults.error_code)
            return
        for pattern, give in ((_TREE, self._tree), (_INFO, self._info), (_FILE, self._file)):
            if match := pattern.fullmatch(path):
                if match["repository"] in self.hub.repositories:
                    give(match)
                else:
                    self._refuse(404, "RepoNotFound")
                return
        self._refuse(404, "")

    def _info(self, match: re.Match[str]) -> None:
        repository = match["repository"]
        siblings = [
            {"rfilename": name, "size": len(content), "blobId": _etag(content)}
            for name, content in self.hub.repositories[repository].items()
        ]
        commit = self.hub.commit_of(repository)
        self._give_json({"id": repository, "sha": commit, "siblings": siblings, "tags": []})

    def _tree(self, match: re.Match[str]) -> None:
        files = self.hub.repositories[match["repository"]].items()
        self._give_json(
            [
                {"type": "file", "path": name, "size": len(content), "oid": _etag(content)}
                for name, content in files
            ]
        )

    def _file(self, match: re.Match[str]) -> None:
        content = self.hub.repositories[match["repository"]].get(match["name"])
        if content is None:
            self._refuse(404, "EntryNotFound")
            return
        first = 0
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            first = int(asked[1])
        self.send_response(206 if first else 200)
        self.send_header("ETag", f'"{_etag(content)}"')
        self.send_header("X-Repo-Commit", self.hub.commit_of(match["repository"]))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            self._send(content[first:], self.hub.take_cut(self.path))

    def _send(self, content: bytes, cut: int | None) -> None:
        if cut is not None:
            content, self.close_connection = content[:cut], True
        try:
            for start in range(0, len(content), _PIECE_BYTES):
                self.wfile.write(content[start : start + _PIECE_BYTES])
                time.sleep(self.hub.faults.piece_delay_s)
        except ConnectionError:
            self.close_connection = True  # the client has left

    def _give_json(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _refuse(self, status: int, error_code: str) -> None:
        self.send_response(status)
        if error_code:
            self.send_header("X-Error-Code", error_code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _etag(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
