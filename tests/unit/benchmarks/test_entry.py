"""The entry scripts of *mnist* that need no TensorFlow: one image after the other, and the tuned network."""

from __future__ import annotations

import importlib.util
import sys
from io import BytesIO
from pathlib import Path

import numpy
import pytest
from PIL import Image

from benchmarks import models


@pytest.fixture
def execute(monkeypatch):
    """Execute an entry script as a worker does and call its ``init()``; returns its ``run``."""

    def start(script, *arguments):
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        spec = importlib.util.spec_from_file_location("entry_under_test", script)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.init()
        return module.run

    return start


def test_one_by_one_calls_the_script_for_each_image_with_its_own_arguments(tmp_path, execute):
    script = tmp_path / "together.py"
    script.write_text(
        "import sys\n"
        "def init():\n"
        "    global given\n"
        "    given = sys.argv[1:]\n"
        "def run(mini_batch):\n"
        "    return [f'{path} of {len(mini_batch)} with {given}' for path in mini_batch]\n"
    )
    run = execute(models.ONE_BY_ONE_SCRIPT, script, "--model", "m")
    assert run(["a", "b"]) == ["a of 1 with ['--model', 'm']", "b of 1 with ['--model', 'm']"]


def test_the_tuned_network_gives_the_rows_of_the_graph(tmp_path, execute):
    random = numpy.random.default_rng(1)
    shapes = {"h1/kernel": (784, 300), "h1/bias": (300,), "h2/kernel": (300, 100), "h2/bias": (100,)}
    matrices = {name: random.normal(0, 0.1, shape).astype(numpy.float32) for name, shape in shapes.items()}
    matrices["output/kernel"] = random.normal(0, 0.1, (100, 10)).astype(numpy.float32)
    assert set(matrices) == set(models.MATRICES)
    numpy.savez(tmp_path / "weights.npz", **matrices)
    images = random.integers(0, 256, (5, 28, 28), numpy.uint8)
    paths = [str(tmp_path / f"{number}.png") for number in range(len(images))]
    for path, pixels in zip(paths, images, strict=True):
        Image.fromarray(pixels).save(path)

    rows = execute(models.TUNED_SCRIPT, tmp_path / "weights.npz")(paths)

    expected = []
    for number, pixels in enumerate(images):
        values = pixels.reshape(784).astype(float)
        for name in ("h1", "h2"):
            values = numpy.maximum(values @ matrices[f"{name}/kernel"] + matrices[f"{name}/bias"], 0)
        expected.append(f"{number}.png: {numpy.argmax(values @ matrices['output/kernel'])}")
    assert rows == expected
    assert len({row.partition(": ")[2] for row in rows}) > 1


@pytest.mark.parametrize("absent", [(), ("pyspng",), ("pyspng", "cv2")])
def test_every_decoder_gives_the_same_grey_values(monkeypatch, absent):
    for name in absent:
        monkeypatch.setitem(sys.modules, name, None)
    spec = importlib.util.spec_from_file_location("tuned_under_test", models.TUNED_SCRIPT)
    tuned = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tuned)
    pixels = numpy.arange(784, dtype=numpy.uint8).reshape(28, 28)
    png = BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    assert (numpy.asarray(tuned.fastest_decoder()(png.getvalue())).reshape(28, 28) == pixels).all()


def test_without_the_tutorials_graph_there_are_no_weights():
    from benchmarks.__main__ import parse

    assert models.weights(parse([])[0]) is None
    assert Path(models.TUNED_SCRIPT).is_file()
