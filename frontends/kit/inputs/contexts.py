# SPDX-License-Identifier: Apache-2.0
"""The inputs of a build: the program, the main context with its ignore file, and named contexts."""

from __future__ import annotations

import asyncio
import json
import posixpath
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from typing import Literal

from llbkit.frontends.base import Bridge, ResolveError, solve_state
from llbkit.frontends.kit import platforms
from llbkit.frontends.kit.errors import texts as errors
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.frontends.kit.golang.text import parse_bool
from llbkit.frontends.kit.image import Image
from llbkit.frontends.kit.inputs import archive, gitref
from llbkit.frontends.kit.inputs.gitref import git_state
from llbkit.frontends.kit.inputs.ignore import read_patterns
from llbkit.frontends.kit.inputs.localcontext import ContextNode, context_state
from llbkit.frontends.kit.inputs.program import ProgramFile
from llbkit.frontends.kit.options import Options
from llbkit.grammar import Source
from llbkit.grammar.patterns.match import PatternError
from llbkit.llb import http, image, local, oci_layout
from llbkit.llb.address.reference import InvalidReferenceError, Reference, parse_plain
from llbkit.llb.address.reference import parse as parse_reference
from llbkit.llb.builder.options import Constraints, SourceText
from llbkit.llb.builder.options import Options as StepOptions
from llbkit.llb.builder.state import State
from llbkit.llb.ir.ops import Platform
from llbkit.records import dataclass

IGNORE_FILE = ".dockerignore"
_CONTEXT = "context"
_PROGRAM = "dockerfile"
"""The local directory with the program, in any language: so BuildKit's clients call it."""


@dataclass(slots=True)
class Contexts:
    """One build's contexts. Each is read once, whoever asks and however often."""

    bridge: Bridge
    options: Options
    file: ProgramFile
    _main: State | None = None
    _program: State | None = None
    _filename: str = ""
    _ignore: bytes | None = None
    _found: bool = False
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _patterns: tuple[str, ...] | None = None
    _text: SourceText | None = None

    @property
    def _attrs(self) -> Mapping[str, str]:
        return self.bridge.options

    def _session(self, name: str) -> str:
        return self._attrs.get(f"local-sessionid:{name}") or self.bridge.session_id

    # -- the main context

    async def _find(self) -> None:
        """Find out whether the main context is remote."""
        if self._found:
            return
        self._filename = self.options.filename
        where = self._attrs.get(self._attrs.get("contextkey") or "context", "")
        keep = parse_bool(self._attrs.get("build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR", "")) or False
        # An image that is to be the same whenever it is built needs files that are.
        mtime: Literal["", "commit"] = "commit" if self._attrs.get("build-arg:SOURCE_DATE_EPOCH") else ""
        state = git_state(where, keep_git_dir=keep, mtime=mtime) if where else None
        if state is not None:
            self._main = self._program = state
        elif gitref.is_http(where):
            await self._find_http(where)
        else:
            inputs = await self.bridge.inputs()
            self._main = inputs.get(_CONTEXT)
            self._program = inputs.get(self._attrs.get("dockerfilekey") or _PROGRAM)
        subdir = self._attrs.get("contextsubdir")
        if self._main is not None and subdir is not None:
            self._main = State().copy(self._main, subdir, "/", dir_contents=True)
        self._found = True

    async def _find_http(self, where: str) -> None:
        state = http(where, filename=_CONTEXT, name="[internal] load remote build context")
        head = await (await solve_state(self.bridge, state)).read_file(_CONTEXT, length=archive.HEAD)
        if archive.is_archive(head):
            state = State().copy(state, f"/{_CONTEXT}", "/", unpack=True)
        else:
            self._filename = _CONTEXT
        self._main = self._program = state

    async def text(self) -> SourceText:
        """Return the program's text with the state it was read from.

        Raises:
            ProgramError: there is none.
        """
        if self._text is None:
            self._text = await self._read()
        return self._text

    async def beside(self, path: str) -> SourceText:
        """Return another text from where the program is. Raises FileNotFoundError, IsADirectoryError."""
        await self._find()
        state = self._remote_program() or self._local_texts([path], path)
        data = await (await solve_state(self.bridge, state)).read_file(path)
        return SourceText(Source.from_bytes(path, data, self.file.language), state)

    def _remote_program(self) -> State | None:
        return None if "dockerfilekey" in self._attrs else self._program

    async def _read(self) -> SourceText:
        await self._find()
        state = self._remote_program() or self._local_program()
        ref = await solve_state(self.bridge, state)
        causes = []
        for name in self.file.candidates(self._filename):
            try:
                data = await ref.read_file(name)
            except FileNotFoundError:
                causes.append(f"open {name}: no such file or directory")
            except IsADirectoryError:
                causes.append(f"read {name or '/'}: is a directory")
            else:
                self._ignore = await self._try(state, f"{self._filename}{IGNORE_FILE}")
                return SourceText(Source.from_bytes(self._filename, data, self.file.language), state)
        raise errors.no_file(self.file.noun, self._filename, causes[0])

    def _local_program(self) -> State:
        first, *others = self.file.candidates(self._filename)
        return self._local_texts([first, f"{first}{IGNORE_FILE}", *others], first)

    def _local_texts(self, paths: Sequence[str], shown: str) -> State:
        name = self._attrs.get("dockerfilekey") or _PROGRAM
        return local(
            name,
            session_id=self._session(name),
            follow_paths=paths,
            shared_key_hint=name,
            differ="none",
            name=f"[internal] load build definition from {shown}",
        )

    async def _try(self, state: State, path: str) -> bytes | None:
        """Return an ignore file's content; None where no file is.

        Raises:
            ProgramError: a link leads to none. To take everything then would be no answer.
        """
        ref = await solve_state(self.bridge, state)
        try:
            return await ref.read_file(path)
        except (FileNotFoundError, IsADirectoryError):
            folder, name = posixpath.split(path)
            with suppress(FileNotFoundError):
                for entry in await ref.read_dir(folder):
                    if entry.path == name and entry.linkname:
                        raise errors.ignore_link(path, entry.linkname) from None
            return None

    async def ignored(self) -> tuple[str, ...]:
        """Return the patterns of ``<program>.dockerignore``, else of ``.dockerignore``; none of remote contexts.

        Raises:
            ProgramError: the file is malformed.
        """
        await self._find()
        if self._main is not None:
            return ()
        async with self._lock:
            if self._patterns is None:
                data, name = self._ignore, f"{self._filename}{IGNORE_FILE}"
                if data is None:
                    data, name = await self._try(self._local_ignore(), IGNORE_FILE), IGNORE_FILE
                self._patterns = _patterns(data, name)
            return self._patterns

    def _local_ignore(self) -> State:
        name = _CONTEXT
        return local(
            name,
            session_id=self._session(name),
            follow_paths=[IGNORE_FILE],
            shared_key_hint=f"{name}-{IGNORE_FILE}",
            differ="none",
            name=f"[internal] load {IGNORE_FILE}",
        )

    async def main(self, paths: set[str]) -> State:
        """Return the main context; ``paths`` fills up with what is read of it until the graph is made."""
        await self._find()
        if self._main is not None:
            return self._main
        name = _CONTEXT
        return context_state(
            ContextNode(
                name=name,
                session_id=self._session(name),
                ignored=await self.ignored(),
                shared_key_hint=name,
                paths=paths,
                constraints=Constraints.of(StepOptions(name="[internal] load build context")),
            )
        )

    # -- named contexts

    def named(self, name: str, platform: Platform | None) -> NamedContext | None:
        """Return the context of a name, for a platform or for all, unread; None if there is none.

        Raises:
            ProgramError: the name cannot be one of a context.
        """
        try:
            reference = parse_reference(name)
        except InvalidReferenceError as error:
            raise errors.context(f"invalid context name {name}: {error.standard}") from None
        short = reference.with_default_tag().familiar.removesuffix(":latest")
        wanted = platforms.normalize(platform or self.options.build_platforms[0])
        for key in (f"{short}::{platforms.format_all(wanted)}", short):
            if (value := self._attrs.get(f"context:{key}")) is not None:
                return NamedContext(self, short, key, value, platform)
        return None


@dataclass(frozen=True, slots=True)
class NamedContext:
    """A named context, not read yet. ``key`` is its name with the platform it is for, if it is for one."""

    contexts: Contexts
    name: str
    key: str
    value: str
    platform: Platform | None

    async def loaded(self, paths: set[str]) -> tuple[State, Image | None]:
        """Like `load`, for where a context that cannot be found is an error of the program. Raises ProgramError."""
        try:
            return await self.load(paths)
        except ResolveError as error:
            raise errors.context(str(error), error.help) from error

    async def load(self, paths: set[str]) -> tuple[State, Image | None]:
        """Return its state, and its image config if it has one.

        Raises:
            ProgramError: the specifier is malformed.
            ResolveError: it cannot be found.
        """
        kind, colon, rest = self.value.partition(":")
        if not colon:
            raise errors.context(f"invalid context specifier {self.value} for {self.key}")
        if kind.startswith("git@"):
            kind = "git"
        match kind:
            case "docker-image":
                return await self._image(rest.removeprefix("//"))
            case "git":
                state = git_state(self.value)
                if state is None:
                    raise errors.context(f"invalid git context {self.value}")
                return state, None
            case "http" | "https":
                name = f"[context {self.key}] {self.value}"
                return git_state(self.value) or http(self.value, filename=_CONTEXT, name=name), None
            case "oci-layout":
                return await self._layout(rest.removeprefix("//"))
            case "local":
                return await self._local(rest, paths), None
            case "input":
                return await self._input(rest)
            case _:
                raise errors.context(f"unsupported context source {kind} for {self.key}")

    async def _image(self, written: str) -> tuple[State, Image | None]:
        if written == "scratch":
            return State(), None
        named = _reference(written).with_default_tag()
        mode = self.contexts.options.resolve_mode
        found = await self.contexts.bridge.resolve_image(
            str(named),
            platform=self.platform,
            mode=mode,
            log_name=f"[context {self.key}] load metadata for {written}",
        )
        state = image(found.ref, name=f"[context {self.key}] {written}", platform=self.platform)
        state, config = self._configured(state, found.config)
        config.created = ""
        return state, config

    def _configured(self, state: State, config: bytes) -> tuple[State, Image]:
        return state.with_image_config(config), _image_of(config)

    async def _layout(self, written: str) -> tuple[State, Image | None]:
        quoted = go_quote(written)
        try:
            store, _, digest = parse_plain(written)
        except InvalidReferenceError as error:
            raise errors.context(f"could not parse oci-layout reference {quoted}: {error.standard}") from None
        if not digest:
            raise errors.context(
                f"oci-layout reference {quoted} has no digest", "write oci-layout://store@sha256:..."
            )
        named = str(parse_reference(self.name).with_digest(digest))
        session = self.contexts.bridge.session_id
        found = await self.contexts.bridge.resolve_image(
            named,
            platform=self.platform,
            log_name=f"[context {self.key}] load metadata for {named}",
            oci_store=store,
            oci_session=session,
        )
        name = f"[context {self.key}] OCI load from client"
        state = oci_layout(named, session_id=session, store_id=store, name=name, platform=self.platform)
        return self._configured(state, found.config)

    async def _local(self, directory: str, paths: set[str]) -> State:
        contexts = self.contexts
        session = contexts._session(directory)
        hint = f"context:{self.key}-"
        ignore = local(
            directory,
            session_id=session,
            follow_paths=[IGNORE_FILE],
            shared_key_hint=f"{hint}{IGNORE_FILE}",
            differ="none",
            name=f"[context {self.key}] load {IGNORE_FILE}",
        )
        patterns = _patterns(await contexts._try(ignore, IGNORE_FILE), IGNORE_FILE)
        return context_state(
            ContextNode(
                name=directory,
                session_id=session,
                ignored=patterns,
                shared_key_hint=hint + contexts.bridge.options.get(f"sharedkey:localdir:{self.key}", ""),
                paths=paths,
                constraints=Constraints.of(StepOptions(name=f"[context {self.key}] load from client")),
            )
        )

    async def _input(self, name: str) -> tuple[State, Image | None]:
        bridge = self.contexts.bridge
        state = (await bridge.inputs()).get(name)
        if state is None:
            raise errors.context(f"invalid input {name} for {self.key}")
        config = _input_config(name, bridge.options.get(f"input-metadata:{name}", ""))
        return (state, None) if config is None else self._configured(state, config)


def _patterns(data: bytes | None, name: str) -> tuple[str, ...]:
    """Return the patterns of an ignore file; none if there is no file. Raises ProgramError."""
    if data is None:
        return ()
    try:
        return tuple(read_patterns(data.decode("utf-8", "surrogateescape")))
    except PatternError as error:
        raise errors.option(f"failed parsing {name}: {error}") from None


def _reference(text: str) -> Reference:
    try:
        return parse_reference(text)
    except InvalidReferenceError as error:
        raise errors.context(error.standard, error.help) from None


def _image_of(config: bytes) -> Image:
    try:
        return Image.read(config)
    except ValueError as error:
        raise errors.image_config(str(error)) from None


def _input_config(name: str, text: str) -> bytes | None:
    """Return the image config in an input's metadata: a JSON object of base64 values, as Go writes it."""
    if not text:
        return None
    import base64
    import binascii

    try:
        value = json.loads(text).get("containerimage.config")
        return base64.b64decode(value, validate=True) if value is not None else None
    except (ValueError, AttributeError, TypeError, binascii.Error) as error:
        raise errors.context(f"failed to parse input metadata {name}: {error}") from None
