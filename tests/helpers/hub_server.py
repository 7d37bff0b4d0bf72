"""A hub on loopback for the real client: repositories that can be created, committed to (with LFS) and downloaded from.

Only what `create_repo`, `create_commit`, `model_info` and downloads ask for. A repository holds one branch, main.
"""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_test0123456789SECRET"
_LFS_FROM = 1_000_000
"""Bytes from which a file is sent as LFS."""


@dataclass
class Repository:
    """A repository. files: its newest content. commits: their messages. lfs: the files that came as LFS."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    lfs: set[str] = field(default_factory=set)

    @property
    def sha(self) -> str:
        """The newest commit."""
        return hashlib.sha1(f"{len(self.commits)}".encode()).hexdigest()


class HubServer(ThreadingHTTPServer):
    """repositories: by name. owners: those that the token may write to. asked: the requests, as METHOD PATH."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.owners = {"someone"}
        self.asked: list[str] = []
        self.stored: dict[str, bytes] = {}
        self.broken = 0
        """If set, the status of every answer."""

    @property
    def address(self) -> str:
        """What to set HF_ENDPOINT to."""
        return f"http://127.0.0.1:{self.server_port}"

    def environment(self, home: str) -> dict[str, str]:
        """Return the environment of a client of this hub with its token. home: a folder for the hub's cache."""
        return {
            "HF_ENDPOINT": self.address, "HF_TOKEN": TOKEN, "HF_HOME": home, "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip


@contextlib.contextmanager
def hub_server() -> Iterator[HubServer]:
    """Run a hub."""
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *arguments: object) -> None:
        pass

    def _do(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        if self.server.broken:
            return self._json({"error": "the hub is down"}, self.server.broken)
        uploaded = path.startswith("/lfs/")
        if not uploaded and self.headers.get("authorization") not in (None, f"Bearer {TOKEN}"):
            return self._json({"error": "Invalid credentials in Authorization header"}, 401)
        parts = path.strip("/").split("/")
        if self.command == "PUT" and uploaded:
            self.server.stored[parts[1]] = self.body
            return self._json({})
        if parts[:2] == ["api", "validate-yaml"]:
            return self._json({"errors": [], "warnings": []})
        if parts == ["api", "repos", "create"]:
            return self._create()
        if parts[:2] == ["api", "models"]:
            return self._repository("/".join(parts[2:4]), parts[4:])
        if parts[1:2] and parts[1].endswith(".git") and parts[-1] == "batch":
            return self._batch()
        if parts[2:3] == ["resolve"]:
            return self._file("/".join(parts[:2]), "/".join(parts[4:]))
        return self._json({"error": f"not in this hub: {path}"}, 404)

    do_GET = do_POST = do_PUT = do_HEAD = _do  # noqa: N815

    def _create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] not in self.server.owners:
            return self._json({"error": "You don't have the rights to create a model under this namespace"}, 403)
        if name in self.server.repositories:
            return self._json({"error": "You already created this model repo"}, 409)
        self.server.repositories[name] = Repository(asked.get("visibility") == "private" or bool(asked.get("private")))
        return self._json({"url": f"{self.server.address}/{name}", "name": name})

    def _repository(self, name: str, rest: list[str]) -> None:
        found = self.server.repositories.get(name)
        if found is None:
            return self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        if rest[:1] == ["revision"] and rest[1] not in ("main", found.sha):
            return self._json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        if rest[:1] == ["preupload"]:
            return self._json({"files": [self._mode(one) for one in json.loads(self.body)["files"]]})
        if rest[:1] == ["commit"]:
            return self._commit(name, found)
        if rest[:1] == ["tree"]:
            return self._json([self._entry(found, path) for path in sorted(found.files)])
        return self._json(
            {
                "id": name, "sha": found.sha, "private": found.private, "tags": [], "downloads": 0,
                "siblings": [{"rfilename": path} for path in sorted(found.files)],
            }
        )  # fmt: skip

    @staticmethod
    def _mode(file: dict[str, Any]) -> dict[str, Any]:
        mode = "lfs" if file["size"] >= _LFS_FROM else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}

    @staticmethod
    def _entry(found: Repository, path: str) -> dict[str, Any]:
        return {"type": "file", "path": path, "size": len(found.files[path]), "oid": _etag(found.files[path])}

    def _batch(self) -> None:
        asked = json.loads(self.body)["objects"]
        objects = [{**one, "actions": {"upload": {"href": f"{self.server.address}/lfs/{one['oid']}"}}} for one in asked]
        return self._json({"transfer": "basic", "objects": objects}, kind="application/vnd.git-lfs+json")

    def _commit(self, name: str, found: Repository) -> None:
        if name.partition("/")[0] not in self.server.owners:
            return self._json({"error": "Forbidden"}, 403)
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                found.commits.append(value["summary"])
            elif line["key"] == "file":
                found.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = self.server.stored[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                found.files[value["path"]] = content
                found.lfs.add(value["path"])
        address = f"{self.server.address}/{name}/commit/{found.sha}"
        return self._json({"commitUrl": address, "commitOid": found.sha, "success": True})

    def _file(self, name: str, path: str) -> None:
        found = self.server.repositories.get(name)
        if found is None:
            return self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        if path not in found.files:
            return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        content = found.files[path]
        headers = {"X-Repo-Commit": found.sha, "ETag": f'"{_etag(content)}"'}
        return self._send(content, 200, headers, "application/octet-stream")

    def _json(
        self, content: Any, status: int = 200, headers: dict[str, str] | None = None, kind: str = "application/json"
    ) -> None:
        self._send(json.dumps(content).encode(), status, headers or {}, kind)

    def _send(self, content: bytes, status: int, headers: dict[str, str], kind: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
