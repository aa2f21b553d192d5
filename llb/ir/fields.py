# SPDX-License-Identifier: Apache-2.0
"""What a field of an op declares about itself, in its annotation, and the table of it.

    hostname: Annotated[str, Wire(7)] = ""
    extra_hosts: Annotated[tuple[HostIP, ...], Wire(6, "extraHosts"), Line("host")] = ()

Everything that knows ops by their fields reads this table: the wire's messages and their coding (`llbkit.llb.wire.schema`,
`llbkit.llb.wire.codec`), the text form and its reader (`llbkit.llb.text.fields`, `llbkit.llb.text.lines`), the words of
comparisons (`llbkit.llb.tools.fieldwords`), the caps that the builder asks for. A field without a mark for the text form is an
option there, ``hostname=web``, wherever the options of its op stand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from llbkit.records import dataclass


@dataclass(frozen=True, slots=True)
class OneOf:
    """A ``oneof`` of the wire, by its name there: for each type of value its field (number, name, kind of scalar)."""

    name: str
    members: Mapping[type, tuple[int, str] | tuple[int, str, str]]


@dataclass(frozen=True, slots=True)
class Wire:
    """A field's place in the wire message; ``name`` is its name there, if not its own.

    ``kind`` is the scalar type or the enum's name, where the type of the value does not say it. ``box`` is the message
    that holds the value alone, in its field ``input`` or, with ``oneof``, in one of several. Without a box, the members
    of ``oneof`` are fields of the op's own message. ``embeds``: the value is the bytes of this message, kept as they came.
    """

    number: int = 0
    name: str = ""
    kind: str = ""
    box: str = ""
    oneof: OneOf | None = None
    embeds: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """Text form: a line of its own, or one for each value of many, that begins with ``keyword``."""

    keyword: str


@dataclass(frozen=True, slots=True)
class Head:
    """Text form: a word at the head of the op's line; several stand in the order of ``place``."""

    place: int = 0


@dataclass(frozen=True, slots=True)
class Spoken:
    """Text form: words of its own kind, which the printer and the reader of its op know."""


@dataclass(frozen=True, slots=True)
class Usual:
    """The value that the text form leaves out, where it is not the field's default: what the builder writes."""

    value: object


@dataclass(frozen=True, slots=True)
class InputNumber:
    """The value is the number of an input of the op, -1 for scratch."""


@dataclass(frozen=True, slots=True)
class Needs:
    """The cap that a graph needs if the value is not the default; ``always``: if there is the part that has the field."""

    cap: str
    always: bool = False


@dataclass(frozen=True, slots=True)
class Called:
    """What users call the field in comparisons, if not by its name."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One field of an op class: what its type and its annotation say.

    ``types`` are the types of one value, more than one if any of several is allowed. ``default`` is MISSING for fields
    that have to be given, and so is ``usual``.
    """

    name: str
    types: tuple[type, ...]
    many: bool
    mapping: bool
    optional: bool
    default: object
    usual: object
    wire: Wire | None
    line: Line | None
    head: Head | None
    spoken: bool
    number: bool
    needs: Needs | None
    word: str

    @property
    def kind(self) -> type[Any]:
        """The type of one value; ``object`` if there are several."""
        return self.types[0] if len(self.types) == 1 else object

    @property
    def is_option(self) -> bool:
        """Whether the text form says it as ``name=value``."""
        return self.line is None and self.head is None and not self.spoken


def declared(kind: type[Any]) -> Mapping[str, Declared]:
    """Return the fields of an op class by name, in their order."""
    found = _DECLARED.get(kind)
    if found is None:
        found = _DECLARED[kind] = MappingProxyType({one.name: one for one in _declared(kind)})
    return found


_DECLARED: dict[type[Any], Mapping[str, Declared]] = {}


def message_name(kind: type[Any]) -> str:
    """Return the name of an op class's wire message: what it says itself, or its own name."""
    return str(getattr(kind, "MESSAGE", kind.__name__))


def wire_name(field: Declared) -> str:
    """Return the name of a field on the wire."""
    return (field.wire.name if field.wire is not None else "") or field.name


def caps_of(value: Any) -> Iterator[str]:
    """Yield the caps that a graph needs for the fields of a value, and of what is in it."""
    for name, field in declared(type(value)).items():
        found = getattr(value, name)
        is_default = field.default is not MISSING and found == field.default
        if field.needs is not None and (field.needs.always or not is_default):
            yield field.needs.cap
        if not is_default:
            for one in found if field.many else (found,):
                if is_dataclass(one):
                    yield from caps_of(one)


def _declared(kind: type[Any]) -> Iterator[Declared]:
    names = vars(
        sys.modules[kind.__module__]
    )  # get_type_hints would ask for each name of each hint, again and again
    for item in fields(kind):
        hint: Any = eval(item.type, names) if isinstance(item.type, str) else item.type
        marks: tuple[object, ...] = ()
        if get_origin(hint) is Annotated:
            hint, *rest = get_args(hint)
            marks = tuple(rest)
        by_kind: dict[type, Any] = {type(mark): mark for mark in marks}
        default: object = item.default
        if item.default_factory is not MISSING:
            default = item.default_factory()
        origin = get_origin(hint)
        many, mapping = origin is tuple, origin in (Mapping, dict)
        one = get_args(hint)[0] if many else get_args(hint)[1] if mapping else hint
        members = get_args(one) if get_origin(one) in (Union, UnionType) else (one,)
        yield Declared(
            name=item.name,
            types=tuple(member for member in members if member is not NoneType),
            many=many,
            mapping=mapping,
            optional=NoneType in members,
            default=default,
            usual=by_kind[Usual].value if Usual in by_kind else default,
            wire=by_kind.get(Wire),
            line=by_kind.get(Line),
            head=by_kind.get(Head),
            spoken=Spoken in by_kind,
            number=InputNumber in by_kind,
            needs=by_kind.get(Needs),
            word=by_kind[Called].text if Called in by_kind else item.name,
        )
