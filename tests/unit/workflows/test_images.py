"""Digits on disk: every pixel comes back, and names sort in order."""

import numpy as np
import pytest
from common import images
from digits import prepare as digits_prepare
from mnist import prepare as mnist_prepare
from PIL import Image


def test_every_pixel_comes_back(tmp_path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 5, 7), np.uint8)
    images.write_images(tmp_path / "new" / "folder", tmp_path / "labels.csv", pixels, np.array([4, 0, 9], np.uint8))
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert [file.name for file in files] == ["00000.png", "00001.png", "00002.png"]
    for file, expected in zip(files, pixels, strict=True):
        with Image.open(file) as image:
            assert image.mode == "L"
            assert np.asarray(image).tolist() == expected.tolist()
    assert (tmp_path / "labels.csv").read_bytes() == b"file,label\n00000.png,4\n00001.png,0\n00002.png,9\n"


@pytest.mark.parametrize(
    ("count", "first", "last"), [(1, "00000.png", "00000.png"), (100_001, "000000.png", "100000.png")]
)
def test_names_sort_by_number(count, first, last) -> None:
    names = list(images.file_names(count))
    assert (names[0], names[-1], len(names)) == (first, last, count)
    assert names == sorted(names)


def test_arrays_keep_the_name_they_are_given(tmp_path) -> None:
    pixels, labels = np.arange(8, dtype=np.uint8).reshape(2, 2, 2), np.array([1, 2], np.uint8)
    images.save_arrays(tmp_path / "x.npz.partial", pixels, labels)
    loaded = images.load_arrays(tmp_path / "x.npz.partial")
    assert [one.tolist() for one in loaded] == [pixels.tolist(), labels.tolist()]
    assert [one.name for one in tmp_path.iterdir()] == ["x.npz.partial"]


def test_held_out_digits_are_not_trained_on() -> None:
    (train_pixels, train_labels), (test_pixels, test_labels) = digits_prepare.split(450, seed=1)
    assert (train_pixels.shape, test_pixels.shape) == ((1_347, 8, 8), (450, 8, 8))
    assert (len(train_labels), len(test_labels)) == (1_347, 450)
    # The data set holds no image twice, so equal bytes would be the same digit.
    assert not {one.tobytes() for one in train_pixels} & {one.tobytes() for one in test_pixels}
    assert np.bincount(test_labels).tolist() == pytest.approx([45] * 10, abs=2)
    assert (train_pixels.min(), train_pixels.max(), len(np.unique(train_pixels))) == (0, 255, 17)


def test_the_split_depends_on_the_seed_alone() -> None:
    first, again, other = (digits_prepare.split(100, seed)[1][0].tobytes() for seed in (1, 1, 2))
    assert first == again != other


def test_the_limit_takes_the_first_images(tmp_path) -> None:
    images.save_arrays(tmp_path / "test", np.zeros((5, 28, 28), np.uint8), np.array([5, 6, 7, 8, 9], np.uint8))
    outputs = {"images": str(tmp_path / "images"), "labels": str(tmp_path / "labels.csv")}
    mnist_prepare.main({"test": str(tmp_path / "test")}, outputs, {"limit": 2})
    assert (tmp_path / "labels.csv").read_text() == "file,label\n00000.png,5\n00001.png,6\n"
    assert sorted(one.name for one in (tmp_path / "images").iterdir()) == ["00000.png", "00001.png"]
