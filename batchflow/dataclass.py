"""What we need of ``dataclasses``, made while a program starts and therefore made cheaply.

The standard module writes and compiles six functions for each class, a third of a millisecond, and imports ``inspect``
for it, seven more: half of what ``batchflow run -n`` took.  Here the functions of all classes are the same few, which
walk over the names of the fields.  An instance takes a microsecond longer to make, so nothing that exists for each item
is one.

To the standard module the classes are its own: ``dataclasses.replace``, ``asdict`` and ``fields`` take them.  There is
no ``__post_init__``, ``InitVar``, ``ClassVar``, order or slots.
"""

# ruff: noqa: ANN401 - of values of any class nothing is known

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace

    __all__ = ["MISSING", "asdict", "dataclass", "field", "fields", "is_dataclass", "replace"]
else:
    import copy
    from reprlib import recursive_repr

    MISSING = object()

    class Field:
        """One attribute: its name, the text of its annotation, and what it is when it is not given."""

        __slots__ = ("compare", "default", "default_factory", "name", "type")

        def __init__(self, default: Any, default_factory: Any, compare: bool) -> None:
            self.name = self.type = ""
            self.default = default
            self.default_factory = default_factory
            self.compare = compare

    def field(*, default: Any = MISSING, default_factory: Any = MISSING, compare: bool = True) -> Any:
        return Field(default, default_factory, compare)

    class _Fields:
        """The fields as the standard module wants to see them, made when it asks."""

        def __get__(self, instance: Any, owner: type) -> dict[str, Any]:
            import dataclasses

            copied = [(one.name, one.type, _standard(one)) for one in owner.__fields__.values()]
            made = dataclasses.make_dataclass(owner.__name__, copied, init=False, repr=False, eq=False)
            owner.__dataclass_fields__ = made.__dataclass_fields__
            return owner.__dataclass_fields__

    def _standard(one: Field) -> Any:
        import dataclasses

        given = {"default": one.default, "default_factory": one.default_factory}
        given = {name: value for name, value in given.items() if value is not MISSING}
        return dataclasses.field(**given, compare=one.compare)

    def dataclass(cls: type | None = None, /, *, frozen: bool = False, eq: bool = True) -> Any:
        """The decorator, with and without arguments."""

        def make(cls: type) -> type:
            cls.__fields__ = _collect(cls)
            cls.__match_args__ = tuple(cls.__fields__)
            cls.__dataclass_fields__ = _Fields()
            functions = {"__init__": _init, "__repr__": _repr}
            if frozen:
                functions |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
            if eq:
                functions |= {"__eq__": _eq, "__hash__": _hash if frozen else None}
            for name, function in functions.items():
                if name not in cls.__dict__ or (name == "__hash__" and cls.__dict__[name] is None):
                    setattr(cls, name, function)
            return cls

        return make if cls is None else make(cls)

    def _collect(cls: type) -> dict[str, Field]:
        """The fields of the class and of what it inherits from, in order."""
        collected: dict[str, Field] = {}
        for base in reversed(cls.__mro__[1:]):
            collected |= base.__dict__.get("__fields__", {})
        for name, annotation in cls.__annotations__.items():
            default = cls.__dict__.get(name, MISSING)
            one = default if isinstance(default, Field) else Field(default, MISSING, True)
            one.name, one.type = name, annotation
            if type(one.default).__hash__ is None:
                raise ValueError(f"mutable default, field={name}: use default_factory")
            if one is default:
                if one.default is MISSING:
                    delattr(cls, name)
                else:
                    setattr(cls, name, one.default)
            collected[name] = one
        return collected

    def _init(self: Any, /, *values: Any, **named: Any) -> None:
        known = self.__fields__
        given = dict(zip(known, values, strict=False))
        if len(values) > len(known) or given.keys() & named.keys() or not named.keys() <= known.keys():
            raise TypeError(f"{type(self).__name__}() takes each of {', '.join(known)} once")
        given |= named
        attributes = self.__dict__
        for name, one in known.items():
            if name in given:
                attributes[name] = given[name]
            elif one.default is not MISSING:
                attributes[name] = one.default
            elif one.default_factory is not MISSING:
                attributes[name] = one.default_factory()
            else:
                raise TypeError(f"{type(self).__name__}() needs {name}")

    @recursive_repr("...")
    def _repr(self: Any) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__fields__)
        return f"{type(self).__qualname__}({values})"

    def _compared(self: Any) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name, one in self.__fields__.items() if one.compare)

    def _eq(self: Any, other: object) -> Any:
        return _compared(self) == _compared(other) if type(other) is type(self) else NotImplemented

    def _hash(self: Any) -> int:
        return hash(_compared(self))

    def _refuse_to_set(self: Any, name: str, value: object) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def _refuse_to_delete(self: Any, name: str) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def fields(of: Any) -> tuple[Field, ...]:
        return tuple(of.__fields__.values())

    def is_dataclass(of: Any) -> bool:
        return hasattr(of if isinstance(of, type) else type(of), "__fields__")

    def replace(old: Any, /, **changes: Any) -> Any:
        return type(old)(**{name: getattr(old, name) for name in old.__fields__} | changes)

    def asdict(value: Any) -> Any:
        """Plain dictionaries, all the way down; what is inside of them is copied."""
        kind = type(value)
        if is_dataclass(kind):
            return {name: asdict(getattr(value, name)) for name in kind.__fields__}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return kind(*map(asdict, value))
        if isinstance(value, (list, tuple)):
            return kind(map(asdict, value))
        if isinstance(value, dict):
            return {asdict(key): asdict(one) for key, one in value.items()}
        return copy.deepcopy(value)
