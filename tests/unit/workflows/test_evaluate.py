"""The evaluate step: numbers, a picture, and a clear end when too little is right."""

import json
from pathlib import Path

import numpy as np
import pytest
from common import evaluate, metrics, picture
from common.images import write_images
from common.metrics import Scored
from PIL import Image


@pytest.fixture
def step(tmp_path):
    """``step(wrong, min_accuracy)`` scores ten images of which the first ``wrong`` are read as 9."""

    def run(wrong: int, min_accuracy: float) -> dict[str, str]:
        labels = np.arange(10, dtype=np.uint8) % 9
        pixels = np.arange(10 * 64, dtype=np.uint8).reshape(10, 8, 8)
        write_images(tmp_path / "images", tmp_path / "labels.csv", pixels, labels)
        rows = [
            f"{index:05}.png,{9 if index < wrong else label},0.{index + 1}"
            for index, label in enumerate(labels.tolist())
        ]
        (tmp_path / "predictions.csv").write_text("file,digit,confidence\n" + "\n".join(rows) + "\n")
        inputs = {"labels": "labels.csv", "predictions": "predictions.csv", "images": "images"}
        outputs = {"metrics": "metrics.json.partial", "confusion": "confusion.png.partial"}
        outputs = {name: str(tmp_path / path) for name, path in outputs.items()}
        evaluate.main(
            {name: str(tmp_path / path) for name, path in inputs.items()},
            outputs,
            {"title": "Ten", "min_accuracy": min_accuracy},
        )
        return outputs

    return run


def test_enough_right_writes_both_outputs_under_the_names_given(step, capsys) -> None:
    outputs = step(wrong=2, min_accuracy=0.8)
    report = json.loads(Path(outputs["metrics"]).read_text())
    assert (report["accuracy"], report["correct"], report["count"], report["min_accuracy"]) == (0.8, 8, 10, 0.8)
    with Image.open(outputs["confusion"]) as image:
        assert image.format == "PNG"
    assert capsys.readouterr().out == "accuracy=0.8000: 8 of 10 right\n"


def test_too_little_right_fails_and_says_where(step) -> None:
    message = (
        r"^accuracy=0\.7000 is below min_accuracy=0\.71: 3 of 10 wrong; most often "
        r"0 read as 9 \(1×\), 1 read as 9 \(1×\), 2 read as 9 \(1×\)$"
    )
    with pytest.raises(ValueError, match=message):
        step(wrong=3, min_accuracy=0.71)


def test_all_right_can_be_drawn(step) -> None:
    assert json.loads(Path(step(wrong=0, min_accuracy=1)["metrics"]).read_text())["accuracy"] == 1.0


def test_the_picture_is_large_enough_to_read_and_shows_both_colors(tmp_path) -> None:
    scored = [Scored(f"{index:05}.png", index % 10, (index * index) % 10, 0.9) for index in range(50)]
    pixels = np.full((50, 8, 8), 128, np.uint8)
    write_images(tmp_path / "images", tmp_path / "labels.csv", pixels, np.zeros(50, np.uint8))
    mistakes = [one for one in scored if not one.right]
    picture.draw(tmp_path / "x", "Title", metrics.confusion_matrix(scored), mistakes, tmp_path / "images")
    with Image.open(tmp_path / "x") as image:
        assert image.format == "PNG"
        assert 1_200 <= image.width <= 2_400
        assert 800 <= image.height <= 1_400
        colors = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for color in (picture.GOOD, picture.BAD):
        red, green, blue = bytes.fromhex(color[1:])
        assert (
            np.abs(colors.astype(int) - (red, green, blue)).max(axis=1) <= 2
        ).sum() > 20_000  # whole cells, not just text
    assert 5_000 < (tmp_path / "x").stat().st_size < 1_000_000
