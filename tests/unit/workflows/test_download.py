"""The download, against a server on this machine: only good content gets its name, everything else says what to do."""

import gzip
import hashlib
import socket
import stat
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from common.images import load_arrays
from mnist import download, fetch, idx
from mnist.download import Pin

LABELS = bytes.fromhex("00000801 00000003") + b"\x01\x02\x03"
GOOD = gzip.compress(LABELS, mtime=0)
PIN = Pin("labels.gz", len(LABELS), hashlib.sha256(LABELS).hexdigest())


class Mirror:
    """Serves ``files`` (path → bytes) on 127.0.0.1 and remembers what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut: int | None = None
        self.garbage = False
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.asked.append(self.path)
                content = mirror.files.get(self.path)
                if mirror.garbage:
                    self.wfile.write(b"who are you\r\n\r\n")
                    return
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: mirror.cut])

            def log_message(self, *_) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    def url(self, folder: str) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/{folder}/"


@pytest.fixture
def mirror(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    one = Mirror()
    one.thread.start()
    yield one
    one.server.shutdown()
    one.thread.join()
    one.server.server_close()


def fetch_from(mirror, folder, *names) -> None:
    download.fetch_all(folder, [PIN], [mirror.url(name) for name in names], timeout_s=10)


def test_a_good_file_is_kept_and_not_asked_for_again(tmp_path, mirror) -> None:
    mirror.files["/a/labels.gz"] = GOOD
    fetch_from(mirror, tmp_path / "cache" / "mnist", "a")
    fetch_from(mirror, tmp_path / "cache" / "mnist", "a")
    kept = tmp_path / "cache" / "mnist" / "labels.gz"
    assert kept.read_bytes() == GOOD
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert mirror.asked == ["/a/labels.gz"]


def test_another_gzip_file_of_the_same_content_is_good(tmp_path, mirror) -> None:
    mirror.files["/a/labels.gz"] = gzip.compress(LABELS, compresslevel=1, mtime=12345)
    fetch_from(mirror, tmp_path, "a")
    assert idx.read_labels(tmp_path / "labels.gz").tolist() == [1, 2, 3]


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.fault("S29", "S30")
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, r"/a/labels\.gz: HTTP Error 404: Not Found"),
        (GOOD[:-3], r"/a/labels\.gz: offset \d+: the gzip file ends too early"),
        (gzip.compress(LABELS[:-1]), r"/a/labels\.gz: expected 11 bytes unpacked, got 10"),
        (gzip.compress(flipped(LABELS, 70)), r"/a/labels\.gz: expected content with sha256=\w{64}, got \w{64}"),
        (flipped(GOOD, 8 * len(GOOD) - 40), r"/a/labels\.gz: damaged gzip file"),
        (GOOD + GOOD, r"/a/labels\.gz: offset \d+: \d+ bytes follow the end of the gzip member"),
        (gzip.compress(bytes(20_000_000)), r"/a/labels\.gz: unpacks to more than 11 bytes"),
        (bytes(3_000_000), r"/a/labels\.gz: sends more than any gzip file of 11 bytes of content has"),
        (b"<html>please log in</html>", r"/a/labels\.gz: damaged gzip file"),
        (b"", r"/a/labels\.gz: offset 0: the gzip file ends too early"),
    ],
    ids=["404", "cut", "short", "other", "crc", "twice", "bomb", "large", "html", "empty"],
)
def test_a_bad_answer_leaves_nothing_and_the_next_mirror_is_tried(tmp_path, mirror, content, problem) -> None:
    if content is not None:
        mirror.files["/a/labels.gz"] = content
    with pytest.raises(download.DownloadError, match=problem):
        fetch_from(mirror, tmp_path, "a")
    assert list(tmp_path.iterdir()) == []
    mirror.files["/b/labels.gz"] = GOOD
    fetch_from(mirror, tmp_path, "a", "b")
    assert [one.name for one in tmp_path.iterdir()] == ["labels.gz"]
    assert mirror.asked == ["/a/labels.gz", "/a/labels.gz", "/b/labels.gz"]


@pytest.mark.fault("S30")
def test_an_answer_that_is_cut_off_is_refused(tmp_path, mirror) -> None:
    mirror.files["/a/labels.gz"] = GOOD
    mirror.cut = 20
    with pytest.raises(download.DownloadError, match=r"/a/labels\.gz: "):
        fetch_from(mirror, tmp_path, "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("S30")
def test_a_damaged_file_in_the_cache_is_replaced(tmp_path, mirror, capsys) -> None:
    mirror.files["/a/labels.gz"] = GOOD
    (tmp_path / "labels.gz").write_bytes(flipped(GOOD, 8 * len(GOOD) - 40))
    fetch_from(mirror, tmp_path, "a")
    assert (tmp_path / "labels.gz").read_bytes() == GOOD
    assert "labels.gz: damaged gzip file" in capsys.readouterr().out


def test_a_server_that_speaks_no_http_is_passed_over(tmp_path, mirror) -> None:
    mirror.files["/a/labels.gz"] = GOOD
    mirror.garbage = True
    with pytest.raises(download.DownloadError, match=r"/a/labels\.gz: who are you"):
        fetch_from(mirror, tmp_path, "a")
    assert list(tmp_path.iterdir()) == []


def test_offline_and_absent_says_what_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "mnist"
    with socket.socket() as unused:  # bound but not listening: refused, as without a network
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(download.DownloadError) as caught:
            download.fetch_all(folder, mirrors=[closed + "a", closed + "b/"], timeout_s=10)
    lines = str(caught.value).splitlines()
    assert lines[0] == "MNIST is not here and could not be downloaded: train-images-idx3-ubyte.gz"
    assert all("Connection refused" in line for line in lines[1:3])
    assert lines[3:] == [
        "get these four files from any copy of MNIST (sizes are of the unpacked content):",
        "  train-images-idx3-ubyte.gz   47,040,016 bytes",
        "  train-labels-idx1-ubyte.gz       60,008 bytes",
        "  t10k-images-idx3-ubyte.gz     7,840,016 bytes",
        "  t10k-labels-idx1-ubyte.gz        10,008 bytes",
        "put them into one folder and name it:",
        "  batchflow run workflows/mnist.toml --set source=FOLDER",
        f"or put them into {folder}, where they are found without a word",
    ]


@pytest.mark.parametrize(
    ("variable", "expected"), [("/x/cache", "/x/cache"), ("", "/home/me/.cache"), ("relative", "/home/me/.cache")]
)
def test_the_cache_is_the_users(monkeypatch, variable, expected) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    monkeypatch.setenv("HOME", "/home/me")
    assert str(download.cache_folder()) == f"{expected}/batchflow/mnist"


def test_the_mirrors_are_reached_over_https() -> None:
    assert all(mirror.startswith("https://") for mirror in download.MIRRORS)


# The step ----------------------------------------------------------------------------------------------------------


def idx_images(count: int, height: int, width: int) -> bytes:
    header = b"\x00\x00\x08\x03" + b"".join(one.to_bytes(4, "big") for one in (count, height, width))
    return gzip.compress(header + bytes(count * height * width))


def idx_labels(count: int) -> bytes:
    return gzip.compress(b"\x00\x00\x08\x01" + count.to_bytes(4, "big") + bytes(count))


def write_source(folder, images: bytes, labels: bytes) -> None:
    for name in ("train", "t10k"):
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(images)
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(labels)


def run_step(source, folder) -> None:
    outputs = {"training": str(folder / "training.tmp"), "test": str(folder / "test.tmp")}
    fetch.main({}, outputs, {"source": str(source)})


def test_the_step_reads_a_folder(tmp_path) -> None:
    write_source(tmp_path, idx_images(5, 28, 28), idx_labels(5))
    run_step(tmp_path, tmp_path)
    for name in ("training.tmp", "test.tmp"):
        pixels, labels = load_arrays(tmp_path / name)
        assert pixels.shape == (5, 28, 28)
        assert labels.tolist() == [0] * 5


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (idx_images(5, 28, 28), idx_labels(4), r"5 images, but 4 labels"),
        (idx_images(5, 8, 8), idx_labels(5), r"train-images-idx3-ubyte\.gz: expected images of 28 x 28, got 8 x 8"),
        (idx_labels(5), idx_labels(5), r"train-images-idx3-ubyte\.gz: offset \d+: "),
    ],
    ids=["counts", "size", "kind"],
)
def test_the_step_refuses_files_that_do_not_belong_together(tmp_path, images, labels, message) -> None:
    write_source(tmp_path, images, labels)
    with pytest.raises(idx.FormatError, match=message):
        run_step(tmp_path, tmp_path)


def test_the_step_names_what_the_folder_lacks(tmp_path) -> None:
    write_source(tmp_path, idx_images(5, 28, 28), idx_labels(5))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"source=.*: not found there: t10k-labels-idx1-ubyte\.gz$"):
        run_step(tmp_path, tmp_path)
