# SPDX-License-Identifier: Apache-2.0
"""COPY and ADD."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.dockerfile.facts import ContextCopied
from llbkit.frontends.dockerfile.lower.conversion import COMMAND
from llbkit.frontends.dockerfile.lower.naming import progress_groups
from llbkit.frontends.dockerfile.lower.stage import StageState, Step
from llbkit.frontends.dockerfile.lower.steps import paths
from llbkit.frontends.dockerfile.program.chmod import read_mode
from llbkit.frontends.dockerfile.program.instructions import Copy, Inline
from llbkit.frontends.dockerfile.program.words import Mode
from llbkit.frontends.dockerfile.syntax.words import where
from llbkit.frontends.kit.errors import texts as common
from llbkit.frontends.kit.errors.located import ProgramError, pointed
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.frontends.kit.inputs import gitref
from llbkit.grammar.patterns.match import has_wildcard
from llbkit.llb import git, http, merge, scratch
from llbkit.llb.address import gourl
from llbkit.llb.address.reference import InvalidDigestError, check_digest
from llbkit.llb.builder.files import ActionSpec, copy, mkfile
from llbkit.llb.builder.options import Options as StepOptions
from llbkit.llb.builder.state import State
from llbkit.llb.ids import new_id
from llbkit.records import dataclass

_RAW = Mode(escape="\\", skip_process_quotes=True)


def lower_copy(stage: StageState, step: Step, command: Copy) -> None:
    """Lower COPY or ADD.

    Raises:
        ProgramError: a word, mode, checksum or source cannot be used.
    """
    source = step.sources[0] if step.sources else None
    copying = _Copying(stage, step, command, source)
    copying.expand()
    if source is not None and not source.lowered:
        with pointed(partial(command.flags.span, "from")):
            raise errors.copy_before(command.source_stage, stage.name)
    copying.lower()


@dataclass(slots=True)
class _Copying:
    stage: StageState
    step: Step
    command: Copy
    source: StageState | None
    chown: str = ""
    chmod: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    sources: tuple[str, ...] = ()
    dest: str = ""
    contents: tuple[tuple[str, str], ...] = ()
    mode: int | str | None = None
    display_name: str = ""
    target: str = ""

    def expand(self) -> None:
        """Expand the words, and then the heredocs."""
        command = self.command
        self.keep_git_dir = command.keep_git_dir
        self.chown, self.checksum, self.chmod = (
            command.flags.checked(name, lambda text: self.stage.expand(self.step, text))
            for name in ("chown", "checksum", "chmod")
        )
        *sources, self.dest = self.stage.expand_all(self.step, (*command.sources, command.dest))
        self.sources = tuple(sources)
        self.contents = tuple((item.name, self._text(item)) for item in command.contents)

    def _text(self, item: Inline) -> str:
        return self.stage.expand(self.step, item.data, mode=_RAW) if item.expand else item.data

    def lower(self) -> None:
        """Make the step."""
        stage, command = self.stage, self.command
        self.target = self._destination()
        with pointed(partial(command.flags.span, "chmod")):
            self.mode = read_mode(self.chmod)
        with pointed(partial(command.flags.span, "checksum")):
            self._check_checksum()
        name = stage.display_text(command.code)
        self.display_name = stage.names.next(name, stage.runs_on, stage.env, onbuild=self.step.onbuild)
        actions: list[ActionSpec] = []
        for written, source in zip(command.sources, self.sources, strict=True):
            with pointed(partial(where, written)):
                actions.append(self._one(written, source))
        actions += [self._document(path, data) for path, data in self.contents]
        options = stage.step_options(self.step, self.display_name)
        if command.link and not self.chmod and stage.conversion.options.supports("mergeop"):
            self._link(actions, options, name)
        else:
            stage.built.state = stage.built.state.file(*actions, **options)
        stage.commit(self._message(), changed=True)
        self._note_paths()

    def _link(self, actions: list[ActionSpec], options: StepOptions, name: str) -> None:
        """Copy to an empty filesystem and merge the result onto the stage's: both are shown as one step."""
        stage, names = self.stage, self.stage.names
        weak, strong = progress_groups(new_id(), self.display_name)
        copied: StepOptions = {
            **options,
            "platform": stage.runs_on,
            "progress_group": weak,
        }
        linked = scratch().file(*actions, **copied)
        merged: StepOptions = {
            **options,
            "progress_group": strong,
            "name": names.again(f"LINK {name}", stage.runs_on, stage.env, onbuild=self.step.onbuild),
        }
        stage.built.state = stage.built.state.with_output(merge([stage.built.state, linked], **merged).output)

    def _check_checksum(self) -> None:
        if not self.checksum:
            return
        if len(self.sources) != 1:
            raise errors.checksum("checksum can't be specified for multiple sources")
        if not _is_remote(self.sources[0]):
            raise errors.checksum("checksum requires HTTP(S) or Git sources")

    def _destination(self) -> str:
        system = self.stage.runs_on.os
        folder = self.stage.built.state.settings.at(self.stage.conversion.target).dir
        if not self.dest:
            return folder + "/"
        dest = paths.without_drive(self.dest, system, keep_slash=True)
        if paths.is_absolute(dest, system):
            return paths.normalize("/", dest, system, keep_slash=True)
        return paths.normalize(folder, "./" if dest == "." else dest, system, keep_slash=True)

    def _one(self, written: str, source: str) -> ActionSpec:
        # A path that looks like a repository of GitHub's is read as one, and taken for a path.
        found = gitref.parse(source)
        if found is not None and not source.startswith("github.com/"):
            return self._git(found)
        if gitref.is_http(source):
            return self._http(source)
        return self._local(written, source)

    def _git(self, found: gitref.GitRef) -> ActionSpec:
        """Add a repository. What its address says of checksum and .git holds for the sources after it, as in BuildKit."""
        if not self.command.is_add:
            raise common.source("source can't be a git ref for COPY", "use ADD")
        if found.keep_git_dir is not None:
            if self.keep_git_dir not in (None, found.keep_git_dir):
                with pointed(partial(self.command.flags.span, "keep-git-dir")):
                    raise common.source("inconsistent keep-git-dir configuration", "set it in one place only")
            self.keep_git_dir = found.keep_git_dir
        if found.checksum:
            if self.checksum not in ("", found.checksum):
                message = f"checksum mismatch {go_quote(self.checksum)} != {go_quote(found.checksum)}"
                with pointed(partial(self.command.flags.span, "checksum")):
                    raise errors.checksum(message)
            self.checksum = found.checksum
        state = git(
            found.remote,
            ref=found.ref,
            subdir=found.subdir,
            keep_git_dir=bool(self.keep_git_dir),
            checksum=self.checksum,
            skip_submodules=found.submodules is False,
            fetch_by_commit=bool(found.fetch_by_commit),
            name=self.display_name,
        )
        return self._plain(state, "/")

    def _http(self, source: str) -> ActionSpec:
        if not self.command.is_add:
            raise common.source("source can't be a URL for COPY", "use ADD")
        if self.checksum:
            with pointed(partial(self.command.flags.span, "checksum")):
                try:
                    check_digest(self.checksum)
                except InvalidDigestError as error:
                    raise errors.checksum(str(error)) from None
        filename = filename_of(source)
        state = http(
            source,
            filename=filename,
            checksum=self.checksum,
            name=self.display_name,
            description={COMMAND: ""},
        )
        return self._plain(state, filename, unpack=bool(self.command.unpack))

    def _plain(self, state: State, path: str, *, unpack: bool = False) -> ActionSpec:
        return copy(
            state,
            path,
            self.target,
            mode=self.mode,
            owner=self.chown or None,
            create_dest_path=True,
            unpack=unpack,
            exclude=self.command.exclude,
        )

    def _local(self, written: str, source: str) -> ActionSpec:
        stage, command = self.stage, self.command
        if self.source is None:
            ignored = stage.conversion.matcher
            fact = ContextCopied(command, stage.unknown_base, source, written, ignored)
            stage.conversion.facts.tell(fact)
        system = stage.runs_on.os
        include: tuple[str, ...] = ()
        required: tuple[str, ...] = ()
        if command.parents:
            parent, pivot, pattern = source.partition("/./")
            source, pattern = (parent, pattern) if pivot else ("/", source)
            pattern = paths.join("/", paths.below_root(pattern, system))
            if not has_wildcard(source) and not has_wildcard(pattern):
                required = (paths.join("/", source, pattern),)
                pattern = pattern.replace("\\", "\\\\")  # a name, but what is included are patterns
            include = (pattern.removeprefix("/"),)
        unpack = command.is_add if command.unpack is None else command.unpack
        return copy(
            stage.conversion.context if self.source is None else self.source.built.state,
            paths.below_root(source, system),
            self.target,
            mode=self.mode,
            owner=self.chown or None,
            follow_symlinks=True,
            dir_contents=True,
            unpack=unpack,
            create_dest_path=True,
            wildcard=True,
            empty_wildcard=True,
            include=include,
            exclude=command.exclude,
            required=required,
        )

    def _document(self, name: str, data: str) -> ActionSpec:
        path = paths.without_drive(name, self.stage.runs_on.os, keep_slash=False)
        state = scratch().file(
            mkfile(path, data.encode("utf-8", "surrogateescape"), 0o644),
            name="[internal] preparing inline document",
            platform=self.stage.runs_on,
        )
        return self._plain(state, path)

    def _message(self) -> str:
        words = ["ADD" if self.command.is_add else "COPY"]
        if self.command.parents:
            words.append("--parents")
        if self.chown:
            words.append(f"--chown={self.chown}")
        if self.chmod:
            words.append(f"--chmod={self.chmod}")
        return " ".join(
            [
                *words,
                *self.sources,
                *(f"<<{name}" for name, _ in self.contents),
                self.dest,
            ]
        )

    def _note_paths(self) -> None:
        """Note what is read, for the source that provides it."""
        read = self.stage.conversion.context_paths if self.source is None else self.source.built.paths
        for source in self.sources:
            if not (self.command.is_add and gitref.is_http(source)):
                read.add(paths.join("/", source))


def _is_remote(source: str) -> bool:
    """Return whether a source can have a checksum: HTTP(S), or a repository whose address is well formed."""
    with suppress(ProgramError):
        return gitref.is_http(source) or gitref.parse(source) is not None
    return False


def filename_of(url: str) -> str:
    """Return the name that a file gets which is loaded from an address."""
    try:
        path = gourl.parse(url).path
    except gourl.URLError:
        return "__unnamed__"
    name = path.rstrip("/").rpartition("/")[2]
    return "__unnamed__" if name in ("", ".") else name
