"""The rules say the same as the models, and accept nothing that the models would not."""

from __future__ import annotations

import inspect
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow.workflow import quantities, quick, rules, schema
from batchflow.workflow.rules import REQUIRED, Key, Rule, Shape
from batchflow.workflow.values import Threshold

SHAPES = [rules.PARAMETER, rules.DATASET, rules.MODEL, rules.PARALLEL, rules.STEP, rules.HEAD]
QUANTITIES = {
    quantities.parse_duration: ("duration",),
    quantities.parse_size: ("size",),
    quantities.parse_threshold: ("threshold",),
    quantities.parse_amount: ("amount",),
}


def model_of(shape: Shape[Any]) -> type[schema.Shape]:
    model = getattr(schema, shape.model)
    assert issubclass(model, schema.Shape)
    return model


def keys_of(model: type[schema.Shape]) -> dict[str, Key]:
    """The rules that the model's own validator follows."""
    found = model.__pydantic_core_schema__
    return _keys(found["schema"] if found["type"] == "definitions" else found)


def _keys(model: Any) -> dict[str, Key]:
    assert model["type"] == "model"
    fields = model["schema"]["fields"]
    return {field.get("validation_alias", name): _key(name, field) for name, field in fields.items()}


def _key(name: str, field: Any) -> Key:
    attribute = name if "validation_alias" in field else None
    found = field["schema"]
    if found["type"] != "default":
        return Key(_rule(found), REQUIRED, attribute)
    default = found["default_factory"]() if "default_factory" in found else found["default"]
    if isinstance(default, Threshold):
        default = default.count
    found = found["schema"]
    return Key(_rule(found["schema"] if found["type"] == "nullable" else found), default, attribute)


def _rule(found: Any) -> Rule:
    kind = found["type"]
    if kind == "str":
        return ("text", found.get("min_length"), found.get("max_length"), found.get("pattern"))
    if kind == "int":
        return ("whole", found["ge"], found.get("le"))
    if kind == "float":
        assert found["allow_inf_nan"] is False
        return ("number", found["ge"], found["le"])
    if kind == "literal":
        return ("choice", tuple(found["expected"]))
    if kind == "list":
        return ("list", _rule(found["items_schema"]), found.get("min_length"))
    if kind == "dict":
        return ("table", _rule(found["keys_schema"]), _rule(found.get("values_schema", {"type": "any"})))
    if kind == "function-before":
        return ("lower", _rule(found["schema"]))
    if kind == "function-plain":
        return QUANTITIES[inspect.getclosurevars(found["function"]["function"]).nonlocals["parse"]]
    if kind == "model":
        return ("shape", _keys(found))
    return {"any": ("any",), "bool": ("flag",)}[kind]


def plain(keys: Any) -> Any:
    """Keys with the shapes inside them spelled out."""
    if isinstance(keys, Key):
        return Key(plain(keys.rule), keys.default, keys.attribute)
    if isinstance(keys, tuple):
        return tuple(plain(one) for one in keys)
    if isinstance(keys, Shape):
        keys = keys.keys
    return {name: plain(one) for name, one in keys.items()} if isinstance(keys, dict) else keys


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.model)
def test_the_rules_are_those_of_the_models(shape: Shape[Any]) -> None:
    assert plain(shape) == plain(keys_of(model_of(shape)))


LENGTHS = ["0" * 64, "a" * 64, "a" * 65]
WORDS = [
    "1",
    "1%",
    "2 min",
    "256 MiB",
    "10_000 rows",
    "-1",
    "full",
    "Summary_Only",
    "csv",
    "append_row",
    "any",
    "exact",
    "text",
    "true",
]
NAMES = ["", " ", "a", "A", "x1", "a-b", "x:y", "m.n:f", "é", "naïve:f", "a\n", "\ud800"]
TEXTS = st.sampled_from([*NAMES, *WORDS, *LENGTHS]) | st.text(max_size=4)
NUMBERS = (
    st.integers(-2, 5000) | st.floats() | st.sampled_from([0, 1, 100, 101, 1 << 28, 1 << 63, 10**400, True, False])
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    TEXTS | NUMBERS | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)


@st.composite
def tables(draw: st.DrawFn, shape: Shape[Any]) -> dict[str, Any]:
    """A table with some of the keys that the shape knows, now and then with another one."""
    names = draw(st.lists(st.sampled_from([*shape.keys]), unique=True, max_size=4))
    required = [name for name, key in shape.keys.items() if key.default is REQUIRED and draw(st.integers(0, 9))]
    table = {name: draw(VALUES | likely(shape.keys[name].rule)) for name in dict.fromkeys([*required, *names])}
    if not draw(st.integers(0, 9)):
        table[draw(st.sampled_from(["format", "unknown", ""]))] = draw(VALUES)
    return table


def likely(rule: Rule) -> st.SearchStrategy[Any]:
    """Values that the rule may well accept."""
    kind, *needs = rule
    if kind == "choice":
        return st.sampled_from(needs[0])
    if kind == "list":
        return st.lists(likely(needs[0]), max_size=3)
    if kind == "table":
        return st.dictionaries(TEXTS, likely(needs[1]), max_size=3)
    if kind == "shape":
        return tables(needs[0])
    if kind in ("whole", "number", "duration", "size", "threshold", "amount"):
        return st.integers(-1, 5000) | TEXTS
    return st.booleans() if kind == "flag" else TEXTS


def values_of(value: Any) -> Any:
    """A model or ``Values`` as plain dictionaries, types told apart."""
    if isinstance(value, schema.Shape):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        return {name: values_of(one) for name, one in fields.items()} | {"set": value.model_fields_set}
    if isinstance(value, quick.Values):
        fields = dict(vars(value))
        present = fields.pop("model_fields_set")
        return {name: values_of(one) for name, one in fields.items()} | {"set": present}
    return (type(value), repr(value))


@settings(max_examples=1500, deadline=None)
@given(st.data())
def test_what_is_accepted_the_models_accept_with_the_same_values(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(SHAPES))
    table = data.draw(tables(shape))
    try:
        accepted = quick.accept(table, shape.keys)
    except quick.DoubtError:
        return
    assert values_of(accepted) == values_of(model_of(shape).model_validate(table))


GOOD: list[tuple[Shape[Any], dict[str, Any]]] = [
    (rules.HEAD, {"schema": 1, "name": "a", "default": ["x"]}),
    (rules.PARAMETER, {"type": "int", "default": 3, "min": 1, "max": 9, "choices": [3], "help": "x"}),
    (rules.DATASET, {"files": ["a/", "b/**"]}),
    (
        rules.DATASET,
        {
            "table": "a/*.csv",
            "format": "csv",
            "delimiter": "\t",
            "quote": "",
            "escape": "\\",
            "null_values": [],
            "columns": ["ä"],
            "schema": {"ä": "int64?"},
            "sample_rows": 1,
            "field_size_max": "1 MiB",
        },
    ),
    (rules.PARALLEL, {"entry_script": "a", "over": ["a", "b"], "mini_batch_size": "1 MiB", "as": "arrow"}),
    (rules.PARALLEL, {"entry_script": "a", "mini_batch_size": "10_000 rows", "partition_keys": ["store", "brand"]}),
    (rules.MODEL, {"path": "m/", "sha256": "0" * 64, "version": "1", "tags": {"Any name": "ö"}}),
    (rules.STEP, {"run": "x", "inputs": {"a": "b"}, "outputs": {"c": "d"}, "after": ["e"], "help": "é"}),
    (rules.STEP, {"call": "a.b:c", "args": {"x": [1, {"y": 2.5}]}}),
    (
        rules.STEP,
        {
            "parallel": {
                "entry_script": "a.py",
                "output_action": "Summary_Only",
                "error_threshold": "1%",
                "allowed_failed_percent": 5,
                "init_timeout": "2 min",
                "worker_memory": "1 GiB",
                "workers": 4096,
                "environment_variables": {"A_1": "x"},
                "arguments": ["--a", "b"],
            }
        },
    ),
]


@pytest.mark.parametrize(("shape", "table"), GOOD)
def test_a_table_that_is_right_needs_no_model(shape: Shape[Any], table: dict[str, Any]) -> None:
    assert values_of(quick.accept(table, shape.keys)) == values_of(model_of(shape).model_validate(table))


WRONG: list[tuple[Shape[Any], dict[str, Any]]] = [
    (rules.HEAD, {"schema": 2}),
    (rules.HEAD, {"format": 1}),
    (rules.HEAD, {"name": "a\n"}),
    (rules.HEAD, {"default": []}),
    (rules.DATASET, {"table": "a", "delimiter": ""}),
    (rules.DATASET, {"table": "a", "quote": "ab"}),
    (rules.DATASET, {"table": "a", "columns": []}),
    (rules.DATASET, {"table": "a", "schema": {"": "int64"}}),
    (rules.DATASET, {"table": "a", "types": {"x": "int64"}}),
    (rules.PARALLEL, {"entry_script": "a", "frame": "arrow"}),
    (rules.PARALLEL, {"entry_script": "a", "mini_batch_size": "10"}),
    (rules.PARALLEL, {"entry_script": "a", "partition_keys": []}),
    (rules.MODEL, {}),
    (rules.MODEL, {"path": ""}),
    (rules.MODEL, {"path": "\ud800"}),
    (rules.STEP, {"call": "a"}),
    (rules.STEP, {"args": {1: 2}}),
    (rules.STEP, {"parallel": {}}),
    (rules.PARALLEL, {"entry_script": "a", "workers": 0}),
    (rules.PARALLEL, {"entry_script": "a", "workers": 4097}),
    (rules.PARALLEL, {"entry_script": "a", "workers": True}),
    (rules.PARALLEL, {"entry_script": "a", "header": 1}),
    (rules.PARALLEL, {"entry_script": "a", "delimiter": ",,"}),
    (rules.PARALLEL, {"entry_script": "a", "allowed_failed_percent": float("nan")}),
    (rules.PARALLEL, {"entry_script": "a", "environment_variables": {"1": "x"}}),
    (rules.PARALLEL, {"entry_script": "a", "init_timeout": "0 s"}),
]


@pytest.mark.parametrize(("shape", "table"), WRONG)
def test_a_table_that_is_wrong_is_left_to_the_models(shape: Shape[Any], table: dict[str, Any]) -> None:
    with pytest.raises(quick.DoubtError):
        quick.accept(table, shape.keys)
    with pytest.raises(pydantic.ValidationError):
        model_of(shape).model_validate(table)


def test_defaults_are_made_anew_each_time() -> None:
    first, second = (quick.accept({}, rules.STEP.keys) for _ in range(2))
    assert first.inputs == {}
    assert first.inputs is not second.inputs
    assert first.after is not second.after
