"""pyarrow reads a piece as Python's csv does, or fails."""

from __future__ import annotations

import csv
import io
import random

import pyarrow as pa
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from batchflow import _core
from batchflow.tables.csv_parser import CsvParser
from batchflow.tables.dialects import core_dialect, csv_dialect
from batchflow.tables.options import TableOptions
from batchflow.tables.schema import Column, Schema

OPTIONS = TableOptions("csv", null_values=())


def text_parser(width: int, options: TableOptions = OPTIONS) -> CsvParser:
    names = tuple(map(str, range(width)))
    return CsvParser(options, Schema(tuple(Column(name, "string") for name in names), names))


def rows_of(table: pa.Table) -> list[list[object]]:
    columns = [column.to_pylist() for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def python_rows(data: bytes, options: TableOptions) -> list[list[str]]:
    text = data.decode()
    return [row for row in csv.reader(io.StringIO(text, newline=""), **csv_dialect(options)) if row]


PIECES = st.text(st.sampled_from('a1,;"\\\n\r \té\ufeff'), max_size=40).map(str.encode)
DIALECTS = st.builds(
    TableOptions,
    st.just("csv"),
    delimiter=st.sampled_from(",;\t"),
    quote=st.sampled_from(['"', "'", None]),
    escape=st.sampled_from([None, None, "\\"]),
    null_values=st.just(()),
)


@pytest.mark.fault("J1", "J2")
@given(PIECES, DIALECTS)
@example(b'"a",', OPTIONS)
@example(b'a,b\n"c",', OPTIONS)
@example(b'"a\r\nb",c\r\n', OPTIONS)
@example("\ufeffa,b\n".encode(), OPTIONS)
@example(b'a"b,"c"d"e"\n', OPTIONS)
@example(b'""\n\n"",\n', OPTIONS)
@example(b"a\\\n,b\n", TableOptions("csv", escape="\\", null_values=()))
@example(b'"a\\"b",c\n', TableOptions("csv", escape="\\", null_values=()))
def test_what_can_be_split_is_read_as_python_reads_it(data, options):
    _, _, seen, problem = _core.record_range(data, 0, 1 << 40, **core_dialect(options))
    assume(problem is None)
    expected = python_rows(data, options)
    assert seen == len(expected)
    assume(expected)
    width = len(expected[0])
    parser = text_parser(width, options)
    if all(len(row) == width for row in expected):
        assert rows_of(parser.parse(data)) == expected
    else:
        with pytest.raises(pa.ArrowInvalid, match=f"Expected {width} columns"):
            parser.parse(data)


@given(
    st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=3, max_size=3)),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_what_python_writes_is_read_back(rows, quoting, line_break):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=quoting, lineterminator=line_break).writerows(rows)
    data = buffer.getvalue().replace("\n", "\n").encode()
    if quoting == csv.QUOTE_MINIMAL and line_break != "\r\n" and any("\r" in field for row in rows for field in row):
        return  # before Python 3.13 such a carriage return is not quoted
    assert rows_of(text_parser(3).parse(data) if rows else pa.table({})) == rows


def test_a_line_break_in_quotes_keeps_its_bytes_wherever_it_lies():
    # Of 1 MiB, the default block of pyarrow, and around it: GH-51368 drops the LF at the border.
    for size in range((1 << 20) - 4, (1 << 20) + 4):
        data = b'"' + b"x" * size + b'\r\ny",b\nc,d\n'
        first = text_parser(2).parse(data).column("0")[0].as_py()
        assert len(first) == size + 3
        assert first.endswith("x\r\ny")


@pytest.mark.fault("J3")
def test_a_byte_order_mark_that_is_data_stays():
    assert rows_of(text_parser(2).parse("\ufeffa,b\n".encode())) == [["\ufeffa", "b"]]
    assert rows_of(text_parser(1).parse("\ufeff\n".encode())) == [["\ufeff"]]


def typed(types: dict[str, str], *, given: bool = False, **options: object) -> CsvParser:
    schema = Schema(tuple(Column(name, type, is_given=given) for name, type in types.items()), tuple(types))
    return CsvParser(TableOptions("csv", **options), schema)


def test_types_are_read():
    types = {"i": "int64", "f": "double", "b": "bool", "s": "string", "t": "timestamp[us]", "d": "decimal128(5, 2)"}
    data = b'1,1.5,true,x,2024-01-31 12:00:00,1.25\n,,,,,\n-7,-inf,False,"",2024-02-01,-0.5\n'
    table = typed(types, given=True).parse(data)
    assert [str(type) for type in table.schema.types] == list(types.values())
    assert table.column("i").to_pylist() == [1, None, -7]
    assert table.column("f").to_pylist() == [1.5, None, float("-inf")]
    assert table.column("b").to_pylist() == [True, None, False]
    assert table.column("s").to_pylist() == ["x", None, ""]
    assert str(table.column("t")[2]) == "2024-02-01 00:00:00"
    assert str(table.column("d")[2]) == "-0.50"


def test_what_stands_for_a_missing_value_is_text_in_quotes():
    parser = typed({"s": "string", "x": "string"}, null_values=("NA", ""))
    assert rows_of(parser.parse(b'NA,"NA"\n,""\n')) == [[None, "NA"], [None, ""]]


def test_programs_that_quote_everything_quote_missing_numbers_too():
    parser = typed({"i": "int64", "s": "string", "f": "double"})
    assert rows_of(parser.parse(b'"1","","NA"\n"","NA","2.5"\n')) == [[1, "", None], [None, "NA", 2.5]]
    assert rows_of(parser.parse(b'1,,NA\n,"",2.5\n')) == [[1, None, None], [None, "", 2.5]]
    assert rows_of(typed({"i": "int64", "j": "int64"}).parse(b'"1",""\n')) == [[1, None]]
    for data in (b'"x","",""\n', b"x,,\n"):
        with pytest.raises(pa.ArrowInvalid, match="invalid value 'x'"):
            parser.parse(data)


def test_where_missing_numbers_are_quoted_once_columns_are_read_apart_from_then_on(monkeypatch):
    reads = []
    original = CsvParser._read

    def counting(self, *args):
        reads.append(1)
        return original(self, *args)

    monkeypatch.setattr(CsvParser, "_read", counting)
    parser = typed({"i": "int64", "s": "string"})
    for data, count in ((b'1,"x"\n', 1), (b'"","x"\n', 3), (b'1,"x"\n', 2)):
        reads.clear()
        parser.parse(data)
        assert len(reads) == count


def test_in_a_table_of_one_column_a_missing_value_may_be_quoted():
    parser = typed({"x": "double"})
    assert rows_of(parser.parse(b'1.5\n""\n2.5\n')) == [[1.5], [None], [2.5]]


@pytest.mark.parametrize("text", ["yes", "TRUE", "1", "t"])
def test_only_four_words_are_truth_values(text):
    with pytest.raises(pa.ArrowInvalid, match="CSV conversion error to bool"):
        typed({"b": "bool", "x": "string"}).parse(f"{text},\n".encode())


@pytest.mark.fault("J13")
@pytest.mark.parametrize("text", ["007", "00", "-01", "-0", " 1", "1 ", "\t1", "0x10", "-00", '" 1"', '"007"'])
@pytest.mark.parametrize("place", ["{},5\n", "6,5\n{},5\n6,5\n", "{},5"])
def test_an_integer_in_another_form_is_no_integer_of_an_inferred_column(text, place):
    data = place.format(text).encode()
    parser = typed({"x": "int64", "y": "int64"})
    table = parser.parse(data)  # pyarrow takes it
    assert parser.misfit(data, table) == (data.count(b"\n", 0, data.index(text.encode())), "x")
    lenient = typed({"x": "int64", "y": "int64"}, given=True)
    assert lenient.misfit(data, lenient.parse(data)) is None


@pytest.mark.parametrize(
    "text",
    ["9007199254740993", "9007199254740993.0", "9007199254740993.5", "-9007199254740993", "007.5", " 1.5", "1.5 "],
)
def test_a_number_that_a_double_is_not_equal_to_is_none_of_an_inferred_column(text):
    parser = typed({"x": "double", "y": "string"})
    data = f"1.5,a\n{text},b\n".encode()
    assert parser.misfit(data, parser.parse(data)) == (1, "x")


@pytest.mark.parametrize("text", ["1e300", "-inf", "9007199254740994", "1e16", "0.5", "-0.0", "0", "1.5e-7", "100"])
def test_numbers_as_they_are_written_fit(text):
    parser = typed({"x": "double", "y": "string"})
    data = f"1.5, 007\n{text},01\n".encode()
    assert parser.misfit(data, parser.parse(data)) is None


@pytest.mark.parametrize("text", ["NAN", "Nan", "Infinity", "INF", "-infinity"])
def test_words_that_arrow_takes_for_numbers_are_none_of_an_inferred_column(text):
    parser = typed({"x": "double", "y": "string"})
    data = f"1.5,a\n{text},b\n".encode()
    assert parser.misfit(data, parser.parse(data)) == (1, "x")


def test_an_odd_number_behind_an_escape_is_found():
    parser = typed({"x": "int64", "y": "string"}, escape="\\")
    assert parser.misfit(b"1,a\n2,b\n", parser.parse(b"1,a\n2,b\n")) is None
    data = b"1,a\n\\07,b\n"
    assert parser.misfit(data, parser.parse(data)) == (1, "x")


def test_a_number_too_large_for_a_double_is_refused():
    parser = typed({"x": "double", "y": "string"})
    data = b"1e400,\n"
    try:
        table = parser.parse(data)
    except pa.ArrowInvalid:
        return
    assert parser.misfit(data, table) == (0, "x")


def test_odd_numbers_are_found_in_every_place():
    parser = typed({"x": "int64", "y": "int64", "z": "string"})
    numbers = random.Random(0)
    for _ in range(200):
        rows = [
            [str(numbers.randrange(-99, 99)), str(numbers.randrange(99)), "s"] for _ in range(numbers.randrange(1, 50))
        ]
        row, column = numbers.randrange(len(rows)), numbers.randrange(2)
        rows[row][column] = numbers.choice(["0", " ", "00"]) + rows[row][column].lstrip("-")
        data = "".join(",".join(one) + "\n" for one in rows).encode()
        assert parser.misfit(data, parser.parse(data)) == (row, "xy"[column]), data


def test_problem_of_a_record():
    parser = text_parser(2)
    assert parser.problem_of(b"a,b\n") is None
    assert parser.problem_of(b"a\n") == "expected 2 fields, got 1"
    assert parser.problem_of(b'"a,b"\r\n') == "expected 2 fields, got 1"
    assert parser.problem_of(b"\xff,b,c\n") == "expected 2 fields, got 3"
    assert text_parser(1).problem_of(b"a,b") == "expected 1 field, got 2"


def test_value_of_a_record():
    parser = text_parser(2)
    assert parser.value_of(b'"a\n""b",c\n', "0") == 'a\n"b'
    assert parser.value_of(b"\xffa,c", "0") == "\\xffa"
    limit = csv.field_size_limit()
    assert parser.value_of(b"a," + b"x" * 300_000, "1") == "x" * 300_000
    assert csv.field_size_limit() == limit


@pytest.mark.fault("J11")
def test_other_encodings():
    parser = text_parser(2, TableOptions("csv", encoding="cp1252", null_values=()))
    assert rows_of(parser.parse(b"caf\xe9,\x80\n")) == [["café", "€"]]
    with pytest.raises(UnicodeDecodeError):
        parser.parse(b"\x81,a\n")
    with pytest.raises(pa.ArrowInvalid, match="invalid UTF8"):
        text_parser(2).parse(b"caf\xe9,a\n")


def test_a_sample_leaves_records_of_another_length_out():
    table = text_parser(2).sample(b"a,b\nc\nd,e,f\n\xff,g\n", "01")
    assert rows_of(table) == [[b"a", b"b"], [b"\xff", b"g"]]
    latin = TableOptions("csv", encoding="cp1252", null_values=())
    assert rows_of(text_parser(2, latin).sample(b"\x81,\xe9\n", "01")) == [["\ufffd".encode(), "é".encode()]]


def test_only_the_columns_that_are_named_are_read():
    names = ("a", "b", "c")
    parser = CsvParser(OPTIONS, Schema((Column("c", "int64"), Column("a", "string")), names))
    table = parser.parse(b"x,not a number,3\n")
    assert table.to_pydict() == {"c": [3], "a": ["x"]}
    assert table.column_names == ["c", "a"]
