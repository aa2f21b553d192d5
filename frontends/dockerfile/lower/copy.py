# SPDX-License-Identifier: Apache-2.0
"""COPY and ADD."""

from __future__ import annotations

import posixpath
import re
import uuid
from urllib.parse import unquote, urlsplit

from frontends.dockerfile.errors import at
from frontends.dockerfile.instructions import Copy, chomp
from frontends.dockerfile.lower.context import paths_of
from frontends.dockerfile.lower.stage import StageState, upper_command
from frontends.dockerfile.words import Mode
from llb import git, giturl, http, merge, scratch
from llb.files import ActionSpec, copy, mkfile
from llb.graph import ProgressGroup
from llb.options import Options as StepOptions
from llb.state import State

_HTTP = re.compile(r"^https?://", re.IGNORECASE)
_GIT = re.compile(r"^(?:git://|git@|ssh://|github\.com/)|^https?://[^?#]*\.git(?:[?#].*)?$")


def is_git(source: str) -> bool:
    """Tell whether a source is a git address."""
    return bool(_GIT.search(source))


def is_url(source: str) -> bool:
    """Tell whether a source comes over HTTP or from git."""
    return bool(_HTTP.match(source)) or is_git(source)


def lower_copy(stage: StageState, command: Copy, source: State, *, from_context: bool) -> None:
    """Lower COPY or ADD; ``source`` is the context, or the stage of ``--from``.

    Raises:
        DiagnosticError: a word, mode or checksum is malformed.
    """
    _Copying(stage, command, source, from_context).lower()


class _Copying:
    def __init__(self, stage: StageState, command: Copy, source: State, from_context: bool) -> None:
        self._stage = stage
        self._command = command
        self._source = source
        self._from_context = from_context
        self._node = command.node
        flags = command.flags
        self._chown = stage.expand(flags.get("chown"), self._node)
        self._chmod = stage.expand(flags.get("chmod"), self._node)
        self._checksum = stage.expand(flags.get("checksum"), self._node)
        self._sources = [stage.expand(word, self._node) for word in command.sources]
        self._dest = stage.expand(command.dest, self._node)
        self._exclude = tuple(stage.expand(pattern, self._node) for pattern in flags.all("exclude"))
        self._parents = flags.on("parents")

    def lower(self) -> None:
        stage = self._stage
        self._check_checksum()
        mode = self._mode()
        name = upper_command(stage.shown(self._node.original))
        shown = stage.prefix(name)
        dest = self._destination()
        actions = [self._one(source, dest, mode, shown) for source in self._sources]
        actions += [self._document(path, content, dest, mode) for path, content in self._documents()]
        options: StepOptions = {"name": shown, "at": stage.place(self._node)}
        if stage.ignore_cache:
            options["ignore_cache"] = True
        linked = self._command.flags.on("link") and not self._chmod
        if linked and (stage.options.caps is None or "mergeop" in stage.options.caps):
            self._link(actions, options, name, shown)
        else:
            stage.state = stage.state.file(*actions, **options)
        stage.commit(self._message(), layer=True)

    def _link(self, actions: list[ActionSpec], options: StepOptions, name: str, shown: str) -> None:
        stage = self._stage
        stage.index -= 1
        group = uuid.uuid4().hex
        weak = options.copy()
        weak["progress_group"] = ProgressGroup(id=group, name=shown, weak=True)
        linked = scratch().file(*actions, **weak)
        final = options.copy()
        final["progress_group"] = ProgressGroup(id=group, name=shown)
        final["name"] = stage.prefix(f"LINK {name}")
        stage.state = stage.state.with_output(merge([stage.state, linked], **final).output)

    def _check_checksum(self) -> None:
        if not self._checksum:
            return
        if len(self._sources) != 1:
            raise at(self._node, "checksum can't be specified for multiple sources")
        if not is_url(self._sources[0]):
            raise at(self._node, "checksum requires HTTP(S) or Git sources")

    def _mode(self) -> int | str | None:
        text = self._chmod
        if not text:
            return None
        if re.fullmatch(r"[0-7]+", text) and int(text, 8) <= 0o7777:
            return int(text, 8)
        if re.fullmatch(r"[0-9]+", text):
            raise at(
                self._node,
                f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777",
                hint="write --chmod=755",
            )
        if not re.fullmatch(r"(?:[ugoa]*[-+=][rwxXst]*,?)+", text):
            raise at(self._node, "invalid syntax", hint="write --chmod=755 or --chmod=u+x")
        return text

    def _destination(self) -> str:
        dest = self._dest
        folder = self._stage.image.config.get("WorkingDir") or "/"
        if not folder.startswith("/"):
            # A base image's relative directory counts twice, as in BuildKit.
            folder = posixpath.join("/", folder, folder)
        path = dest if dest.startswith("/") else posixpath.join(folder, dest)
        clean = "/" + posixpath.normpath(path).lstrip("/")
        if dest.endswith("/."):
            return clean.rstrip("/") + "/."
        if dest.endswith("/") or dest in (".", ""):
            clean = clean if clean == "/" else clean + "/"
        return clean

    def _one(self, source: str, dest: str, mode: int | str | None, shown: str) -> ActionSpec:
        if self._command.is_add and is_git(source):
            return self._git(source, dest, mode, shown)
        if _HTTP.match(source):
            if not self._command.is_add:
                raise at(self._node, "source can't be a URL for COPY", hint="use ADD")
            return self._http(source, dest, mode, shown)
        return self._local(source, dest, mode)

    def _git(self, source: str, dest: str, mode: int | str | None, shown: str) -> ActionSpec:
        address = giturl.parse(source)
        state = git(
            address.full,
            address.fragment,
            keep_git_dir=self._command.flags.on("keep-git-dir"),
            checksum=self._checksum,
            name=shown,
        )
        return copy(
            state,
            "/",
            dest,
            mode=mode,
            owner=self._chown or None,
            create_dest_path=True,
            exclude=self._exclude,
        )

    def _http(self, source: str, dest: str, mode: int | str | None, shown: str) -> ActionSpec:
        base = posixpath.basename(unquote(urlsplit(source).path).rstrip("/"))
        filename = base if base not in ("", ".") else "__unnamed__"
        state = http(
            source, filename=filename, checksum=self._checksum, name=shown,
            description={"com.docker.dockerfile.v1.command": ""},
        )  # fmt: skip
        unpack = self._command.flags.on("unpack")
        return copy(
            state, filename, dest, mode=mode, owner=self._chown or None, create_dest_path=True, unpack=unpack,
            exclude=self._exclude,
        )  # fmt: skip

    def _local(self, source: str, dest: str, mode: int | str | None) -> ActionSpec:
        include: tuple[str, ...] = ()
        required: tuple[str, ...] = ()
        path = source
        if self._parents:
            parent, pivot, pattern = source.partition("/./")
            if not pivot:
                parent, pattern = "/", source
            pattern = _absolute(pattern)
            include = (pattern.removeprefix("/"),)
            if not re.search(r"[*?\[]", pattern):
                required = (_absolute(posixpath.join(parent, pattern.removeprefix("/"))),)
            path = parent
        flags = self._command.flags
        unpack = self._command.is_add and (not flags.has("unpack") or flags.on("unpack"))
        paths = self._stage.paths if self._from_context else paths_of(self._source)
        if paths is not None:
            paths.add(posixpath.join("/", source if not self._parents else source.replace("/./", "/")))
        return copy(
            self._source,
            _absolute(path),
            dest,
            mode=mode,
            owner=self._chown or None,
            follow_symlinks=True,
            dir_contents=True,
            unpack=unpack,
            create_dest_path=True,
            wildcard=True,
            empty_wildcard=True,
            include=include,
            exclude=self._exclude,
            required=required,
        )

    def _documents(self) -> list[tuple[str, bytes]]:
        out = []
        for _, heredoc in self._command.contents:
            text = chomp(heredoc.content) if heredoc.chomp else heredoc.content
            if heredoc.expand:
                mode = Mode(escape="\\", skip_process_quotes=True)
                text = self._stage.expand(text, self._node, mode=mode)
            out.append((heredoc.name, text.encode("utf-8", "surrogateescape")))
        return out

    def _document(self, name: str, data: bytes, dest: str, mode: int | str | None) -> ActionSpec:
        state = scratch().file(mkfile(name, data, 0o644), name="[internal] preparing inline document")
        return copy(
            state,
            name,
            dest,
            mode=mode,
            owner=self._chown or None,
            create_dest_path=True,
            exclude=self._exclude,
        )

    def _message(self) -> str:
        words = ["ADD" if self._command.is_add else "COPY"]
        if self._parents:
            words.append("--parents")
        if self._chown:
            words.append(f"--chown={self._chown}")
        if self._chmod:
            words.append(f"--chmod={self._chmod}")
        words += self._sources
        words += [f"<<{heredoc.name}" for _, heredoc in self._command.contents]
        return " ".join([*words, self._dest]) + " # buildkit"


def _absolute(path: str) -> str:
    return "/" + posixpath.normpath(posixpath.join("/", path)).lstrip("/")
