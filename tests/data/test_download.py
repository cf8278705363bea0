"""Fetching, from a server on this computer that serves the right bytes, wrong ones, or breaks off."""

import hashlib
import importlib
import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pooch
import pytest

from ddpm_edu import data
from ddpm_edu.data import download
from ddpm_edu.errors import DataError

CONTENT = bytes(range(256)) * 1024  # 256 KiB, four chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """/good and friends: the name of the folder says how the server behaves."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        getattr(self, self.path.split("/")[1])()

    def good(self) -> None:
        self.reply(CONTENT)

    def wrong(self) -> None:
        self.reply(CONTENT[:1000] + b"!" + CONTENT[1001:])

    def page(self) -> None:
        self.reply(b"<html>Please log in to the guest network</html>")

    def missing(self) -> None:
        self.send_error(404)

    def broken(self) -> None:
        self.reply(CONTENT[: len(CONTENT) // 2], length=len(CONTENT))

    def unannounced(self) -> None:
        self.reply(CONTENT[: len(CONTENT) // 2], length=None)

    def endless(self) -> None:
        self.reply(CONTENT * 40, length=None)

    def reply(self, body: bytes, length: int | None = -1) -> None:
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length == -1 else length))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.server.hung_up.append(self.path)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[ThreadingHTTPServer]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.hung_up = [], []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def remote(server: ThreadingHTTPServer, *behaviours: str) -> download.RemoteFile:
    root = f"http://127.0.0.1:{server.server_port}"
    return download.RemoteFile("f.gz", SHA256, 2 * len(CONTENT), tuple(f"{root}/{b}/f.gz" for b in behaviours))


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_good_content_arrives_and_is_asked_for_once(server, tmp_path):
    file = remote(server, "good")
    for _ in range(2):
        path = download.fetch_file(file, tmp_path / "new" / "cache")
        assert path == tmp_path / "new" / "cache" / "f.gz"
        assert path.read_bytes() == CONTENT
    assert server.asked == ["/good/f.gz"]
    assert names(path.parent) == ["f.gz"]


@pytest.mark.parametrize("first", ["missing", "wrong", "page", "broken", "unannounced", "endless"])
def test_a_mirror_that_fails_is_followed_by_the_next(server, tmp_path, first):
    path = download.fetch_file(remote(server, first, "good", "missing"), tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [f"/{first}/f.gz", "/good/f.gz"]
    assert names(tmp_path) == ["f.gz"]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("wrong", "does not match the known hash"),
        ("page", "does not match the known hash"),
        ("unannounced", "does not match the known hash"),
        ("broken", "IncompleteRead|Connection broken"),
        ("missing", "404"),
        ("endless", "more bytes than the file can have"),
    ],
)
def test_without_a_good_mirror_nothing_stays_and_the_message_helps(server, tmp_path, behaviour, reason):
    with pytest.raises(DataError, match=reason) as caught:
        download.fetch_file(remote(server, behaviour), tmp_path)
    assert names(tmp_path) == []
    message = str(caught.value)
    assert f"/{behaviour}/f.gz" in message
    assert str(tmp_path / "f.gz") in message
    assert SHA256 in message


def test_an_endless_answer_is_hung_up_on(server, tmp_path):
    file = replace(remote(server, "endless"), max_bytes=len(CONTENT) - 1)
    with pytest.raises(DataError, match="more bytes"):
        download.fetch_file(file, tmp_path)
    server.shutdown()
    server.server_close()  # waits for the handler
    assert server.hung_up == ["/endless/f.gz"]


def test_a_tampered_file_in_the_cache_is_replaced(server, tmp_path):
    (tmp_path / "f.gz").write_bytes(CONTENT[:-1] + b"!")
    download.fetch_file(remote(server, "good"), tmp_path)
    assert (tmp_path / "f.gz").read_bytes() == CONTENT


def test_what_an_interrupted_run_left_behind_does_no_harm(server, tmp_path):
    (tmp_path / "tmp1234abcd").write_bytes(CONTENT[:1000])
    (tmp_path / "f.gz").write_bytes(CONTENT[:1000])
    download.fetch_file(remote(server, "good"), tmp_path)
    assert (tmp_path / "f.gz").read_bytes() == CONTENT


def test_offline_says_where_to_put_the_file(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/f.gz"  # bound but not listening: refused
        file = download.RemoteFile("f.gz", SHA256, 10, (url,))
        with pytest.raises(DataError, match="offline") as caught:
            download.fetch_file(file, tmp_path)
    assert f"put it at {tmp_path / 'f.gz'}" in str(caught.value)


def test_fetch_puts_every_file_of_a_set_into_the_cache(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DDPM_EDU_DATA", str(tmp_path))
    two = (remote(server, "good"), replace(remote(server, "good"), name="g.gz"))
    monkeypatch.setitem(download._FILES, "cifar10", two)
    assert data.fetch("cifar10") == tmp_path / "cifar10"
    assert names(tmp_path / "cifar10") == ["f.gz", "g.gz"]


@pytest.mark.parametrize(("name", "near"), [("fashion_mnist", "fashion-mnist"), ("CIFAR-10", "cifar10")])
def test_an_unknown_name_gets_the_list_and_the_nearest(name, near):
    with pytest.raises(DataError, match=rf"unknown data set '{name}'; .*fashion-mnist, cifar10.*fetch\('{near}'\)"):
        data.fetch(name)


def test_progress_is_quiet_unless_someone_watches(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download, "_someone_watches", lambda: False)
    download.fetch_file(remote(server, "good"), tmp_path / "quiet")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(download, "_someone_watches", lambda: True)
    download.fetch_file(remote(server, "good"), tmp_path / "watched")
    out, err = capsys.readouterr()
    assert out == ""
    assert "f.gz: 262kB" in err


def test_pooch_does_not_chat(server, tmp_path):
    records = []
    handler = logging.Handler()
    handler.emit = records.append  # pooch's own handler writes to a stderr that no fixture sees
    pooch.get_logger().addHandler(handler)
    try:
        pooch.get_logger().setLevel("INFO")
        download.fetch_file(remote(server, "good"), tmp_path)
    finally:
        pooch.get_logger().removeHandler(handler)
    assert records == []


def test_what_the_package_offers_is_pinned_and_comes_by_https():
    assert set(download._FILES) == set(data.DATASETS)
    for files in download._FILES.values():
        for file in files:
            assert file.mirrors
            assert all(url.startswith("https://") and url.endswith(file.name) for url in file.mirrors)
            assert len(bytes.fromhex(file.sha256)) == 32


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("DDPM_EDU_DATA", str(tmp_path))
    assert data.cache_folder("x") == tmp_path / "x"
    monkeypatch.delenv("DDPM_EDU_DATA")
    assert data.cache_folder("x").parent.name == "ddpm_edu"
    assert data.cache_folder("x").is_absolute()


def test_fetched_names_are_the_names_that_the_loaders_look_for():
    fashion = importlib.import_module("ddpm_edu.data.fashion_mnist")
    assert {file.name for file in download._FILES["fashion-mnist"]} == {f"{s}.gz" for s in fashion.CONTENT_SHA256}
    assert download._FILES["cifar10"] == (importlib.import_module("ddpm_edu.data.cifar10").CIFAR10_ARCHIVE,)
