# SPDX-License-Identifier: Apache-2.0
"""Dataclasses whose methods are made when they are first used. The lowest layer: every package may import it.

The decorator of the standard library compiles up to seven methods for each class while its module is imported, 0.3 ms a class;
this one compiles ``__init__`` alone, when the first object is made. All else is the standard library's: `dataclasses.field`,
`dataclasses.fields`, `dataclasses.replace`, `dataclasses.asdict` and pattern matching take these classes like any others, and
type checkers see `dataclasses.dataclass` itself.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable
from dataclasses import FrozenInstanceError
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass  # noqa: TID251
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, kw_only=False, eq=True, repr=True):  # noqa: A002
        """Make a dataclass, as `dataclasses.dataclass` does with the same flags. There is no ``order`` and no ``InitVar``."""

        def wrap(cls):
            made = dataclasses.dataclass(  # noqa: TID251
                init=False, repr=False, eq=False, slots=slots, kw_only=kw_only
            )(cls)
            _complete(made, frozen=frozen, slots=slots, eq=eq, show=repr)
            return made

        return wrap if cls is None else wrap(cls)


__all__ = ["dataclass"]


def _complete(cls: type, *, frozen: bool, slots: bool, eq: bool, show: bool) -> None:
    """Give a class the methods of a dataclass; those that it defines itself stay."""
    fields = dataclasses.fields(cls)
    methods: dict[str, object] = {"__init__": _Init(cls, frozen=frozen)}
    if show:
        methods["__repr__"] = _repr([field.name for field in fields if field.repr])
    if eq:
        _add_comparison(cls, methods, fields, frozen=frozen)
    if frozen and slots:
        methods |= _pickling([field.name for field in fields])
    for name, method in methods.items():
        if name not in cls.__dict__:
            setattr(cls, name, method)
    if frozen:
        _freeze(cls, frozenset(field.name for field in fields))


class _Init:
    """Stands for ``__init__`` until somebody asks for it: to make the first object, or to see its signature."""

    __slots__ = ("_cls", "_frozen")

    def __init__(self, cls: type, *, frozen: bool) -> None:
        self._cls = cls
        self._frozen = frozen

    def __get__(self, instance: object | None, owner: type) -> Callable[..., None]:
        init = _compile_init(self._cls, frozen=self._frozen)
        self._cls.__init__ = init  # type: ignore[misc]
        bound: Callable[..., None] = init.__get__(instance, owner)
        return bound


def _compile_init(cls: type, *, frozen: bool) -> Any:
    """Write and compile the ``__init__`` of a class; its globals are those of the class's module."""
    known: dict[str, object] = {"_MADE": _MADE, "_set": object.__setattr__}
    positional, keyword = ["self"], list[str]()
    lines = list[str]()
    for field in dataclasses.fields(cls):
        name, value = field.name, field.name
        default = ""
        if field.default_factory is not dataclasses.MISSING:
            known[f"_make_{name}"] = field.default_factory
            default = "=_MADE"
            value = f"_make_{name}() if {name} is _MADE else {name}" if field.init else f"_make_{name}()"
        elif field.default is not dataclasses.MISSING:
            known[f"_default_{name}"] = field.default
            default = f"=_default_{name}"
            value = name if field.init else f"_default_{name}"
        elif not field.init:
            continue
        if field.init:
            (keyword if field.kw_only else positional).append(name + default)
        lines.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    parameters = ", ".join([*positional, *(["*", *keyword] if keyword else [])])
    body = "\n  ".join(lines or ["pass"])
    text = f"def _scope({', '.join(known)}):\n def __init__({parameters}):\n  {body}\n return __init__"
    scope: dict[str, Any] = {}
    exec(text, sys.modules[cls.__module__].__dict__, scope)
    init = scope["_scope"](**known)
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {field.name: field.type for field in dataclasses.fields(cls) if field.init}
    init.__annotations__["return"] = None
    return init


class _Made:
    """The default of a parameter whose value is made for each object."""

    def __repr__(self) -> str:
        return "<factory>"


_MADE = _Made()


def _repr(names: list[str]) -> Callable[[object], str]:
    @recursive_repr()
    def show(self: object) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({values})"

    return show


def _add_comparison(
    cls: type, methods: dict[str, object], fields: Iterable[dataclasses.Field[Any]], *, frozen: bool
) -> None:
    """Compare by the fields; hash by them what is frozen, and make unhashable what is not."""
    compared = [field.name for field in fields if field.compare]
    hashed = [field.name for field in fields if (field.compare if field.hash is None else field.hash)]
    values = _getter(compared)

    def same(self: object, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented  # type: ignore[no-any-return]
        equal: bool = values(self) == values(other)
        return equal

    hashes = values if hashed == compared else _getter(hashed)

    def number(self: object) -> int:
        return hash(hashes(self))

    methods["__eq__"] = same
    # A class that defines __eq__ and no __hash__ got None from Python; that counts as not defining it.
    if cls.__dict__.get("__hash__") is None and ("__hash__" not in cls.__dict__ or "__eq__" in cls.__dict__):
        cls.__hash__ = number if frozen else None  # type: ignore[method-assign, assignment]


def _getter(names: list[str]) -> Callable[[object], tuple[object, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda instance: tuple(getattr(instance, name) for name in names)


def _freeze(cls: type, names: frozenset[str]) -> None:
    def assign(self: object, name: str, value: object) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)  # type: ignore[arg-type]

    def delete(self: object, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)  # type: ignore[arg-type]

    for name, method in (("__setattr__", assign), ("__delattr__", delete)):
        if name in cls.__dict__:
            raise TypeError(f"{cls.__name__} is frozen and defines {name}")
        setattr(cls, name, method)


def _pickling(names: list[str]) -> dict[str, object]:
    """Return how objects without ``__dict__`` whose attributes cannot be set are pickled and copied."""

    def state_of(self: object) -> list[object]:
        return [getattr(self, name) for name in names]

    def restore(self: object, state: Iterable[object]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return {"__getstate__": state_of, "__setstate__": restore}
