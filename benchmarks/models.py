"""What the *mnist* case scores: images, labels and a model, all made by the example workflows themselves.

So the model is the very file that ``batchflow run`` scores with, unless ``--model`` names the tutorials' graph.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.data import draft_of
from benchmarks.options import Options

ROOT = Path(__file__).parents[1]
WORKFLOWS = ROOT / "workflows"
ENTRY = Path(__file__).parent / "entry"
GRAPH_SCRIPT = ENTRY / "graph.py"
ONE_BY_ONE_SCRIPT = ENTRY / "one_by_one.py"
TUNED_SCRIPT = ENTRY / "tuned.py"
MATRICES = ("h1/kernel", "h1/bias", "h2/kernel", "h2/bias", "output/kernel")
"""What the tutorials' graph is made of."""
EXTRACT = """
import sys, numpy, tensorflow
checkpoint, path, *names = sys.argv[1:]
numpy.savez(path, **{name: tensorflow.train.load_variable(checkpoint, name) for name in names})
"""
GRAPH_RIGHT_COUNT = 9_696
"""How many of the 10,000 test images the tutorials' graph names right."""
OWN_RIGHT_SHARE = 0.95
DIGIT_COPIES = 20
"""The digits held out are few: they are scored so many times over."""


class ModelError(Exception):
    """Nothing to score, or nothing to score with; the message says what to do."""


@dataclass(frozen=True)
class Material:
    """One model with its images: ``labels`` by file name, ``correct_min`` right answers or something is broken."""

    model: str
    script: Path
    arguments: tuple[str, ...]
    output_format: Literal["text", "jsonl"]
    folder: Path
    labels: dict[str, str]
    correct_min: int


def material(options: Options) -> Material:
    """What ``--mnist`` and ``--model`` ask for; runs the example workflow's steps that are not done yet."""
    if options.model is not None:
        return _graph(options, options.model)
    if options.mnist is not None:
        build = run_workflow("mnist", "prepare", "train", "--set", f"source={options.mnist.absolute()}")
        return _own("mnist", build, build / "images", read_labels(build / "labels.csv"))
    build = run_workflow("digits", "prepare", "train")
    folder, labels = repeat(build / "images", read_labels(build / "labels.csv"), options.data / "digits", DIGIT_COPIES)
    return _own("digits", build, folder, labels)


def weights(options: Options) -> str | None:
    """The matrices of the tutorials' graph as an ``.npz`` file; None where another model is scored.

    Raises ``ModelError`` when TensorFlow cannot read the checkpoint; it has said why.
    """
    if options.model is None:
        return None
    path = draft_of(options.data / "weights") / "mnist-tf.npz"
    command = [sys.executable, "-c", EXTRACT, str(options.model / "mnist-tf.model"), str(path), *MATRICES]
    if subprocess.run(command, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}, check=False).returncode != 0:
        raise ModelError(f"the matrices of the checkpoint could not be read, model={options.model}")
    return str(path)


def run_workflow(name: str, *arguments: str) -> Path:
    """Bring targets of an example workflow up to date; returns the folder of its outputs.

    Raises ``ModelError`` when the command fails; it has said why.
    """
    command = [sys.executable, "-m", "batchflow", "run", str(WORKFLOWS / f"{name}.toml"), *arguments]
    if subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode != 0:
        raise ModelError(f"the example workflow could not make its images and model: {' '.join(command[2:])}")
    return WORKFLOWS / "build" / name


def read_labels(path: Path) -> dict[str, str]:
    """File name → label, from a CSV file with the columns file, label."""
    with path.open(newline="", encoding="utf-8") as stream:
        return {row["file"]: row["label"] for row in csv.DictReader(stream)}


def repeat(images: Path, labels: dict[str, str], folder: Path, copies: int) -> tuple[Path, dict[str, str]]:
    """Copies of all images in one folder, numbered, with their labels; made anew each time, as the images may be."""
    draft = draft_of(folder)
    repeated = {}
    for copy in range(copies):
        for name, label in labels.items():
            shutil.copyfile(images / name, draft / f"{copy:02d}-{name}")
            repeated[f"{copy:02d}-{name}"] = label
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    return folder, repeated


def _own(name: str, build: Path, folder: Path, labels: dict[str, str]) -> Material:
    return Material(
        model=f"the Keras model of workflows/{name}.toml",
        script=WORKFLOWS / "common" / "identify_digits.py",
        arguments=("--model", str(build / "model.keras")),
        output_format="jsonl",
        folder=folder,
        labels=labels,
        correct_min=int(len(labels) * OWN_RIGHT_SHARE),
    )


def _graph(options: Options, checkpoint: Path) -> Material:
    if options.mnist is None:
        raise ModelError("the graph of --model reads 28 x 28 pixels: it needs --mnist DIR")
    if not (checkpoint / "mnist-tf.model.meta").is_file():
        raise ModelError(f"no checkpoint mnist-tf.model in {checkpoint}")
    build = run_workflow("mnist", "prepare", "--set", f"source={options.mnist.absolute()}")
    return Material(
        model="the tutorials' TensorFlow 1 graph",
        script=GRAPH_SCRIPT,
        arguments=(str(checkpoint.absolute()),),
        output_format="text",
        folder=build / "images",
        labels=read_labels(build / "labels.csv"),
        correct_min=GRAPH_RIGHT_COUNT,
    )
