"""Pairs at an address, fetched over real HTTP on loopback: no secret is shown or kept, and errors are one line."""

import gzip
import logging
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.data.pair_files import ROWS, jsonl, parquet, put, read, refusal, refused_early, table, triples
from tune.config.addresses import shown, without_secrets
from tune.config.search import search_config
from tune.config.toml import write_toml
from tune.data._files import locate
from tune.data._sources import HubName, RemoteFile
from tune.results.naming import data_name

SECRET = "sig=7fA9&token=hunter2"


class Files(BaseHTTPRequestHandler):
    """Serves a folder; some paths misbehave."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.folder = folder
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        found = self.folder / path.lstrip("/").replace("%20", " ")
        if path.startswith("/signed/"):
            found = self.folder / found.name
            if query != SECRET:
                self.send_error(403)
                return
        if path == "/broken.csv":
            self.send_error(500)
        elif path == "/cut.csv":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"text1,text2,label\na,b,1\nc,d,0\n")
        elif path == "/page.csv":
            self.answer(b"<!DOCTYPE html><html><body>Log in</body></html>")
        elif not found.is_file():
            self.send_error(404)
        elif path == "/unzipped.csv.gz":
            self.answer(found.read_bytes(), "gzip")
        else:
            self.answer(found.read_bytes())

    do_HEAD = do_GET  # noqa: N815

    def answer(self, body: bytes, encoding: str | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if encoding is not None:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server of the files in tmp_path."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, tmp_path))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_format_is_fetched(tmp_path: Path, served: str, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path / "my pairs.csv", table(ROWS))
    put(tmp_path / "p.csv.gz", table(ROWS))
    put(tmp_path / "unzipped.csv.gz", table(ROWS))
    put(tmp_path / "p.jsonl", jsonl(ROWS))
    parquet(tmp_path / "p.parquet", ROWS)
    (tmp_path / "zipped.csv").write_bytes(gzip.compress(table(ROWS).encode()))
    caplog.set_level(logging.INFO)
    for name in ("my pairs.csv", "my%20pairs.csv", "p.csv.gz", "unzipped.csv.gz", "p.jsonl", "p.parquet", "zipped.csv"):
        pairs = read(f"{served}/{name}")
        assert triples(pairs) == ROWS and pairs.source == name.replace("%20", " ")
    assert f"0.0 MB from {served}/p.parquet" in caplog.text


def test_nothing_is_left(tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "p.csv", table(ROWS))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    read(f"{served}/p.csv")
    refusal(f"{served}/cut.csv")
    assert list(scratch.iterdir()) == []


def test_secrets_are_neither_shown_nor_kept(tmp_path: Path, served: str, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path / "p.csv", table(ROWS))
    caplog.set_level(logging.INFO, logger="tune")
    address = f"{served}/signed/p.csv?{SECRET}"
    assert read(address).source == "p.csv"
    lines = [refusal(f"{served}/signed/{name}?{query}") for name, query in (("p.csv", "sig=7fA9"), ("no.csv", SECRET))]
    lines += [refused_early(f"{served}/signed/p.xyz?{SECRET}"), refused_early("https://user:hunter2@127.0.0.1/p.csv")]
    lines += [refusal(f"http://127.0.0.1:1/p.csv?{SECRET}"), caplog.text]
    config = search_config(data={"data": address}, space={"base_model": ["wordllama"]})
    lines += [write_toml(config), data_name(config), without_secrets(f"--data={address}"), shown(address)]
    for line in lines:
        assert "7fA9" not in line and "hunter2" not in line, line
    assert f'data = "{served}/signed/p.csv"' in write_toml(config) and data_name(config) == "p"
    assert without_secrets("https://h/x?format=csv&gid=0") == "https://h/x?format=csv&gid=0"


def test_errors_are_one_line(tmp_path: Path, served: str) -> None:
    assert "no such file" in refusal(f"{served}/none.csv")
    assert "the server answered 500" in refusal(f"{served}/broken.csv")
    assert "requires a login or a new signature" in refusal(f"{served}/signed/p.csv")
    assert "is a web page, not a file" in refusal(f"{served}/page.csv")
    assert "cannot fetch" in refusal(f"{served}/cut.csv")
    assert "cannot fetch" in refusal(f"{served.replace('http', 'https')}/p.csv"), "no TLS there"
    assert "cannot fetch" in refusal("http://127.0.0.1:1/p.csv")
    assert "cannot fetch" in refusal("http://no-such-host.invalid/p.csv")


def test_what_can_be_refused_early_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "is not an address" in refused_early("http://[::1/p.csv")
    assert "unknown scheme" in refused_early("gopher://host/p.csv")
    assert "unknown format" in refused_early("https://host/pairs.xlsx")
    assert "in ~/.netrc" in refused_early("https://user:word@host/p.csv")
    assert "is not a dataset" in refused_early("hf://models/owner/name/p.csv")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs the package s3fs: pip install s3fs" in refused_early("s3://bucket/pairs.csv")


def test_addresses_of_the_hub() -> None:
    for address in ("hf://datasets/o/n", "https://huggingface.co/datasets/o/n", "hf://datasets/o/n/"):
        assert locate(address) == HubName("o/n", None)
    assert locate("hf://datasets/o/n:pair-class") == HubName("o/n", "pair-class")
    found = locate("hf://datasets/o/n@main/data/p.parquet")
    assert isinstance(found, RemoteFile) and str(found) == "p.parquet"


def test_a_file_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = put(tmp_path / "blob", table(ROWS))

    def download(name: str, path: str, **options: object) -> str:
        assert (name, path, options) == ("o/n", "data/p.csv", {"repo_type": "dataset", "revision": "v1"})
        return str(cached)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert triples(read("hf://datasets/o/n@v1/data/p.csv")) == ROWS


def test_an_address_of_a_local_file(tmp_path: Path) -> None:
    path = put(tmp_path / "my pairs.csv", table(ROWS))
    assert triples(read(path.as_uri())) == ROWS
