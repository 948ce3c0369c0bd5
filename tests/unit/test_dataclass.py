"""Classes made by ``batchflow.dataclass`` are what the standard module would have made of them."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from batchflow import dataclass as ours


@ours.dataclass(frozen=True)
class Point:
    x: int
    y: int = 2
    names: list[str] = ours.field(default_factory=list)
    note: str = ours.field(default="-", compare=False)

    @property
    def sum(self) -> int:
        return self.x + self.y


@ours.dataclass(frozen=True)
class Named(Point):
    title: str = "t"


@ours.dataclass
class Open:
    a: int
    b: Any = None


@ours.dataclass(frozen=True, eq=False)
class Same:
    a: int = 1


@ours.dataclass(frozen=True)
class Own:
    a: int

    def __repr__(self) -> str:
        return "own"

    def __hash__(self) -> int:
        return 7


@dataclasses.dataclass(frozen=True)
class Standard:
    x: int
    y: int = 2
    names: list[str] = dataclasses.field(default_factory=list)
    note: str = dataclasses.field(default="-", compare=False)


def test_it_is_made_as_the_standard_one() -> None:
    for arguments, named in (((1,), {}), ((1, 3, ["a"], "n"), {}), ((), {"x": 1, "note": "n"}), ((5,), {"y": 6})):
        made, standard = Point(*arguments, **named), Standard(*arguments, **named)  # type: ignore[arg-type]
        assert vars(made) == vars(standard)
        assert repr(made) == repr(standard).replace("Standard", "Point")
    assert Point(1).names is not Point(1).names
    assert Point(1).sum == 3


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((), {}), ((1, 2, [], "", 5), {}), ((1,), {"x": 1}), ((1,), {"z": 1}), ((), {"y": 1}), ((1,), {"self": 1})],
)
def test_what_does_not_fit_is_a_type_error(arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    for kind in (Point, Standard):
        with pytest.raises(TypeError):
            kind(*arguments, **named)


def test_equality_and_hash() -> None:
    assert Point(1, 2, []) == Point(1, note="other")
    assert Point(1) != Point(2)
    assert Point(1) != (1, 2, [], "-")
    assert Named(1) != Point(1)
    assert hash(Own(1)) == 7
    assert hash(Named(1, names=())) == hash(Named(1, names=(), note="x"))  # type: ignore[arg-type]
    assert Same() != Same()
    assert len({Same(), Same()}) == 2
    with pytest.raises(TypeError):
        hash(Open(1))
    assert repr(Own(1)) == "own"


def test_frozen_is_frozen() -> None:
    point = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'x'"):
        del point.x  # type: ignore[misc]
    opened = Open(1)
    opened.a = 2
    assert opened == Open(2)


def test_fields_of_the_base_come_first() -> None:
    assert [one.name for one in ours.fields(Named)] == ["x", "y", "names", "note", "title"]
    assert Named(1, 2, [], "", "title").title == "title"
    match Named(1):
        case Named(x, y):
            assert (x, y) == (1, 2)


def test_the_standard_functions_take_it() -> None:
    made = Point(1, names=["a"])
    assert dataclasses.is_dataclass(made)
    assert dataclasses.replace(made, y=5) == Point(1, 5, ["a"])
    assert dataclasses.asdict(made) == {"x": 1, "y": 2, "names": ["a"], "note": "-"}
    for one, standard in zip(dataclasses.fields(Point), dataclasses.fields(Standard), strict=True):
        assert (one.name, one.type, one.default, one.compare) == (
            standard.name,
            standard.type,
            standard.default,
            standard.compare,
        )
        assert one.default_factory is standard.default_factory
    assert [one.name for one in dataclasses.fields(Named)] == ["x", "y", "names", "note", "title"]


def test_our_functions_do_as_the_standard_ones() -> None:
    made = Open(Point(1, names=["a"]), {"k": (Named(2), [Open(3)]), "none": None})  # type: ignore[arg-type]
    assert ours.asdict(made) == dataclasses.asdict(made)  # type: ignore[arg-type]
    assert ours.asdict(made)["a"]["names"] is not made.a.names  # type: ignore[attr-defined]
    assert ours.replace(Point(1), y=7) == Point(1, 7)
    with pytest.raises(TypeError):
        ours.replace(Point(1), z=7)
    assert ours.is_dataclass(Point)
    assert ours.is_dataclass(Point(1))
    assert not ours.is_dataclass(int)


def test_copies_travel() -> None:
    made = Named(1, names=["a"])
    for copied in (pickle.loads(pickle.dumps(made)), copy.copy(made), copy.deepcopy(made)):
        assert copied == made
        assert type(copied) is Named


def test_itself_inside_itself_can_be_shown() -> None:
    made = Open(1)
    made.b = made
    assert repr(made) == "Open(a=1, b=...)"


def test_a_mutable_default_is_refused() -> None:
    with pytest.raises(ValueError, match="field=a"):

        @ours.dataclass
        class _Wrong:
            a: list[int] = []  # noqa: RUF012
