# SPDX-License-Identifier: Apache-2.0
"""Parts common to the lines of all statements: words, options, content, metadata, locations."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any, TypeVar

from llbkit.grammar import Diagnostic, DiagnosticError, Related, Source, Span, nearest
from llbkit.grammar.lift import Branch, Leaf
from llbkit.llb.ir.fields import Declared, declared
from llbkit.llb.ir.graph import LinuxResources, Metadata, ProgressGroup
from llbkit.llb.ir.sourcemap import Location
from llbkit.llb.text.fields import ValueFault, base64_bytes, made, parse_value, unquote
from llbkit.records import dataclass

T = TypeVar("T")
_RANGE = re.compile(r"(-?\d+)(?::(-?\d+))?(?:-(-?\d+)(?::(-?\d+))?)?")
_NAME = "llb.customname"
_BESIDE = frozenset(
    {"name", "describe", "caps", "ignore", "export", "progress", "limits", "later", "nothing"}
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement's place in the text, and the faults that are found in it. Offsets of leaves count from ``start``."""

    source: Source
    start: int
    end: int

    @property
    def text(self) -> str:
        """The source text of the statement."""
        return self.source.text[self.start : self.end]

    def span(self, leaf: Leaf) -> Span:
        """Return the span of a leaf."""
        return self.source.span(self.start + leaf.start, self.start + leaf.end)

    def first_line(self) -> Span:
        """Return the first line of the statement."""
        end = self.source.text.find("\n", self.start, self.end)
        return self.source.span(self.start, self.end if end < 0 else end)

    def moved(self, diagnostic: Diagnostic) -> Diagnostic:
        """Return a diagnostic about this statement's text as one about the whole text."""
        length = len(self.source.text)
        spans = tuple(
            self.source.span(min(length, self.start + span.start), min(length, self.start + span.end))
            for span in diagnostic.spans
        )
        return replace(diagnostic, spans=spans)

    def fault(
        self,
        leaf: Leaf,
        code: str,
        message: str,
        help: str = "",  # noqa: A002
        related: tuple[Related, ...] = (),
    ) -> DiagnosticError:
        """Return the error of a leaf."""
        return DiagnosticError(
            Diagnostic(code=code, message=message, spans=(self.span(leaf),), help=help, related=related)
        )

    def unknown_word(self, tree: Branch, what: str, known: Collection[str]) -> DiagnosticError:
        """Return the error for a line that begins with an unknown word."""
        leaf = tree.parts[0]
        close = nearest(leaf.text, known)
        hint = f"did you mean {close}?" if close else f"expected one of {', '.join(sorted(known))}"
        return self.fault(leaf, "llb-word", f"unknown {what} {leaf.text!r}", hint)

    def value(self, leaf: Leaf, reader: Callable[[str], T]) -> T:
        """Return the value of a leaf's text.

        Raises:
            DiagnosticError: the text is invalid.
        """
        try:
            return reader(leaf.text)
        except ValueFault as fault:
            raise self.fault(leaf, "llb-value", str(fault), fault.help) from None

    def word(self, leaf: Leaf) -> str:
        """Return the string a word stands for."""
        return self.value(leaf, unquote)

    def number(self, leaf: Leaf) -> int:
        """Return a number."""
        return int(leaf.text)

    def options(
        self,
        parts: Sequence[object],
        *kinds: type,
        also: Collection[str] = (),
        without: Collection[str] = (),
    ) -> list[dict[str, Any]]:
        """Return the options among ``parts`` as fields, one mapping for each kind of op part.

        ``also`` are fields that the text form says otherwise, but here as options; ``without`` are options that it does not
        say here.

        Raises:
            DiagnosticError: an option is unknown, given twice, or has a wrong value.
        """
        out: list[dict[str, Any]] = [{} for _ in kinds]
        known = [
            {
                name: field
                for name, field in declared(kind).items()
                if (field.is_option or name in also) and name not in without
            }
            for kind in kinds
        ]
        for part in parts:
            match part:
                case Leaf("FLAG", name):
                    key = part
                case Leaf("PAIR", text):
                    name = text.partition("=")[0]
                    key = part._replace(text=name, end=part.start + len(name))
                case Branch("group", (Leaf() as key, *_)):
                    name = key.text[:-1]
                case _:
                    continue
            for options, fields in zip(known, out, strict=True):
                if name in options:
                    self._option(part, key, options[name], fields)
                    break
            else:
                names = [one for options in known for one in options]
                close = nearest(name, names)
                hint = f"did you mean {close}?" if close else f"known options: {', '.join(names) or 'none'}"
                raise self.fault(key, "llb-option", f"unknown option {name!r}", hint)
        return out

    def _option(self, part: Leaf | Branch, key: Leaf, option: Declared, fields: dict[str, Any]) -> None:
        name = option.name
        nested = is_dataclass(option.kind)
        bare = isinstance(part, Leaf) and part.kind == "FLAG"
        if nested != isinstance(part, Branch) or (bare and option.kind is not bool):
            form = f"{name}(...)" if nested else f"{name}=VALUE"
            raise self.fault(key, "llb-option", f"{name} requires a value", f"write {form}")
        value: Any
        if isinstance(part, Branch):
            (given,) = self.options(part.parts[1:], option.kind)
            value = self.made(key, option.kind, given)
        else:
            value = True if bare else self.value(value_of(part), lambda text: parse_value(option.kind, text))
        if option.many:
            fields[name] = (*fields.get(name, ()), value)
        elif name in fields:
            raise self.fault(key, "llb-option", f"duplicate option {name}")
        else:
            fields[name] = value

    def made(self, leaf: Leaf, kind: Callable[..., T], values: Mapping[str, object]) -> T:
        """Return a part of an op from its fields.

        Raises:
            DiagnosticError: one is missing.
        """
        return self.value(leaf, lambda _: made(kind, values))


def value_of(pair: Leaf) -> Leaf:
    """Return the value of ``name=value`` as a leaf of its own."""
    place = pair.text.index("=") + 1
    return Leaf("WORD", pair.text[place:], pair.start + place, pair.end)


def content(statement: Statement, parts: Sequence[object]) -> bytes:
    """Return the bytes that the lines of content among ``parts`` hold."""
    out: list[bytes] = []
    for part in parts:
        match part:
            case Leaf("LINE", text):
                out.append(text[2:].encode("utf-8", "surrogateescape") + b"\n")
            case Leaf("LAST", text):
                out.append(text[2:].encode("utf-8", "surrogateescape"))
            case Branch("base64", (Leaf() as leaf,)):
                out.append(statement.value(leaf, base64_bytes))
    return b"".join(out)


def metadata_of(statement: Statement, parts: Sequence[object]) -> Metadata | None:
    """Return what the lines of a vertex say besides its op; None if they say nothing."""
    description: dict[str, str] = {}
    given: dict[str, Any] = {"description": description}
    said = False
    for part in parts:
        if not isinstance(part, Branch) or part.rule not in _BESIDE:
            continue
        said = True
        match part:
            case Branch("name", (Leaf() as text,)):
                description[_NAME] = statement.word(text)
            case Branch("describe", (Leaf() as key, Leaf() as text)):
                description[statement.word(key)] = statement.word(text)
            case Branch("caps", names):
                given["caps"] = tuple(sorted({statement.word(name) for name in names}))
            case Branch("ignore"):
                given["ignore_cache"] = True
            case Branch("export", (Leaf() as choice,)):
                given["export_cache"] = choice.text == "yes"
            case Branch("progress", (Leaf() as leaf, *options)):
                (values,) = statement.options(options, ProgressGroup)
                given["progress_group"] = ProgressGroup(id=statement.word(leaf), **values)
            case Branch("limits", options):
                (values,) = statement.options(options, LinuxResources)
                given["linux_resources"] = LinuxResources(**values)
            case Branch("later", (Leaf() as data,)):
                given["unknown"] = given.get("unknown", b"") + statement.value(data, base64_bytes)
    return Metadata(**given) if said else None


def locations(
    statement: Statement, parts: Sequence[object], labels: Mapping[str, int]
) -> tuple[Location, ...] | None:
    """Return the locations that the lines of a statement name; None if there is no such line."""
    out: list[Location] = []
    found = False
    for part in parts:
        match part:
            case Branch("at", (Leaf() as label, *ranges)):
                found = True
                if label.text not in labels:
                    close = nearest(label.text, labels)
                    hint = f"did you mean {close}?" if close else f"add it: {label.text} = text NAME"
                    raise statement.fault(label, "llb-name", f"undefined text {label.text}", hint)
                out.append(_location(labels[label.text], [leaf.text for leaf in ranges]))
            case Branch("at"):
                found = True
    return tuple(out) if found else None


def _location(info: int, ranges: Sequence[str]) -> Location:
    lines, columns = [], []
    for text in ranges:
        match = _RANGE.fullmatch(text)
        assert match is not None, "the grammar's RANGE"
        first, left, last, right = (None if group is None else int(group) for group in match.groups())
        lines.append((first or 0, (first or 0) if last is None else last))
        columns.append((left or 0, right or 0))
    known = any(column for pair in columns for column in pair)
    return Location(info, tuple(lines), tuple(columns) if known else ())
