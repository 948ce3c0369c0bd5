"""Accuracy, recall, precision and the confusion matrix, against numbers worked out by hand."""

import pytest
from common import metrics
from common.metrics import Prediction, Scored
from hypothesis import given
from hypothesis import strategies as st

# true → read as:  0→0 0→0 0→1  1→1  2→7 2→7 2→2 2→2
SCORED = [
    Scored(f"{index}.png", true, digit, 0.5)
    for index, (true, digit) in enumerate([(0, 0), (0, 0), (0, 1), (1, 1), (2, 7), (2, 7), (2, 2), (2, 2)])
]


def test_the_matrix_has_true_digits_in_rows() -> None:
    matrix = metrics.confusion_matrix(SCORED)
    assert matrix[0].tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert matrix[1].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert matrix[2].tolist() == [0, 0, 2, 0, 0, 0, 0, 2, 0, 0]
    assert matrix.sum() == 8


def test_the_summary_is_what_a_person_counts() -> None:
    summary = metrics.summary(metrics.confusion_matrix(SCORED))
    assert (summary["accuracy"], summary["correct"], summary["count"]) == (0.625, 5, 8)
    assert summary["per_class"]["0"] == {"count": 3, "correct": 2, "recall": 0.666667, "precision": 1.0}
    assert summary["per_class"]["1"] == {"count": 1, "correct": 1, "recall": 1.0, "precision": 0.5}
    assert summary["per_class"]["2"] == {"count": 4, "correct": 2, "recall": 0.5, "precision": 1.0}
    assert summary["per_class"]["7"] == {"count": 0, "correct": 0, "recall": None, "precision": 0.0}
    assert summary["per_class"]["9"] == {"count": 0, "correct": 0, "recall": None, "precision": None}
    assert summary["confusion"][2] == [0, 0, 2, 0, 0, 0, 0, 2, 0, 0]


def test_the_worst_confusion_comes_first() -> None:
    assert metrics.worst_confusions(metrics.confusion_matrix(SCORED), count=5) == [(2, 7, 2), (0, 1, 1)]
    assert metrics.worst_confusions(metrics.confusion_matrix(SCORED), count=1) == [(2, 7, 2)]


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="no predictions to score"):
        metrics.accuracy(metrics.confusion_matrix([]))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_the_matrix_agrees_with_counting_one_by_one(pairs) -> None:
    matrix = metrics.confusion_matrix([Scored("x", true, digit, 0.0) for true, digit in pairs])
    assert matrix.tolist() == [[pairs.count((true, digit)) for digit in range(10)] for true in range(10)]
    assert metrics.accuracy(matrix) == pytest.approx(sum(true == digit for true, digit in pairs) / len(pairs))


# Putting predictions beside labels ----------------------------------------------------------------------------------


def test_predictions_are_matched_by_name_and_keep_their_order() -> None:
    scored = metrics.match([Prediction("b", 1, 0.9), Prediction("a", 2, 0.8)], {"a": 2, "b": 3})
    assert scored == [Scored("b", 3, 1, 0.9), Scored("a", 2, 2, 0.8)]
    assert [one.right for one in scored] == [False, True]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a", "b", "a"], "two rows for a"),
        (["a", "x"], "x has no label"),
        (["b"], "no row for 2 of 3 files, the first is a"),
        ([], "no row for 3 of 3 files, the first is a"),
    ],
)
def test_nothing_is_scored_twice_or_left_out(files, message) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.match([Prediction(file, 1, 0.5) for file in files], {"a": 1, "b": 1, "c": 1})


def test_files_are_read(tmp_path) -> None:
    (tmp_path / "p.csv").write_text('file,digit,confidence\n"odd, name.png",7,0.9998\nb.png,0,1.0\n')
    (tmp_path / "l.csv").write_text("file,label\nb.png,0\n")
    assert metrics.read_predictions(tmp_path / "p.csv") == [
        Prediction("odd, name.png", 7, 0.9998),
        Prediction("b.png", 0, 1.0),
    ]
    assert metrics.read_labels(tmp_path / "l.csv") == {"b.png": 0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"p\.csv: expected the columns file, digit, confidence, got None"),
        ("file,confidence,digit\n", r"expected the columns file, digit, confidence, got \['file', 'confidence'"),
        ("file,digit,confidence\na,1,0.5\nb,10,0.5\n", r"p\.csv: line 3: expected a digit from 0 to 9, got '10'"),
        ("file,digit,confidence\na,,0.5\n", r"line 2: expected a digit from 0 to 9, got ''"),
        ("file,digit,confidence\na,²,0.5\n", r"line 2: expected a digit from 0 to 9, got '²'"),
        ("file,digit,confidence\na,1,nan\n", r"line 2: expected a confidence from 0 to 1, got 'nan'"),
        ("file,digit,confidence\na,1,high\n", r"line 2: expected a confidence from 0 to 1, got 'high'"),
        ("file,digit,confidence\na,1,1.01\n", r"line 2: expected a confidence from 0 to 1, got '1\.01'"),
        ("file,digit,confidence\na,1\n", r"line 2: expected 3 fields"),
        ("file,digit,confidence\na,1,0.5,0\n", r"line 2: expected 3 fields"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        metrics.read_predictions(tmp_path / "p.csv")


def test_a_file_labelled_twice_is_named(tmp_path) -> None:
    (tmp_path / "l.csv").write_text("file,label\na,1\na,1\n")
    with pytest.raises(ValueError, match=r"l\.csv: line 3: a is labelled twice"):
        metrics.read_labels(tmp_path / "l.csv")
