# SPDX-License-Identifier: Apache-2.0
"""The differences that are meant, each with its reason; ``docs/differences.md`` lists them for users.

An entry names the kind of difference, where, what each side says and what the case must contain, all as patterns that must
match whole, so that it hides the one thing it is about.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from llbkit.grammar.patterns.match import clean_path, has_wildcard
from llbkit.records import dataclass
from tests.fuzz.builds.case import Case
from tests.fuzz.builds.compare import Difference


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A difference that is meant."""

    name: str
    reason: str
    kind: str
    place: str = ".*"
    theirs: str = ".*"
    ours: str = ".*"
    case: str = ""
    """Searched in the case's Dockerfile and JSON."""
    when: Callable[[Difference, Case], bool] = lambda difference, case: True
    """What patterns cannot say."""

    def covers(self, difference: Difference, case: Case) -> bool:
        """Say whether this is what the difference is."""
        pairs = (
            (self.kind, difference.kind),
            (self.place, difference.place),
            (self.theirs, difference.theirs),
            (self.ours, difference.ours),
        )
        if not all(re.fullmatch(pattern, text, re.DOTALL) for pattern, text in pairs):
            return False
        if re.search(self.case, case.dockerfile() + case.encode(), re.DOTALL) is None:
            return False
        return self.when(difference, case)


def _copied(source: Callable[[str], bool], *, stage: bool) -> Callable[[Difference, Case], bool]:
    """Return what says whether a difference is where a step puts such a source of another stage, or of a context."""

    def when(difference: Difference, case: Case) -> bool:
        return any(
            any(source(one) for one in words[:-1]) and _is_at(words[-1], difference, loosely=stage)
            for each in case.stages
            for step in each.steps
            if any(flag.startswith("--from=") for flag in step.flags) is stage and (words := step.words())
        )

    return when


def _is_at(path: str, difference: Difference, *, loosely: bool) -> bool:
    """Say whether a difference is at a destination; ``loosely``, also if that is a variable or the working directory."""
    place, wanted = re.sub(r" \(\w+\)$", "", difference.place), clean_path("/" + path).strip("/")
    if not wanted or "$" in wanted:
        return loosely
    return place == wanted or place.endswith(f"/{wanted}")


def _directory_changes(difference: Difference, case: Case) -> bool:
    """Say whether the change is one of a directory's mode."""
    assert case.change is not None, "asked of changes alone"
    changed = case.change.path
    return any(
        entry.path.startswith(f"{changed}/") or (entry.path, entry.kind) == (changed, "dir")
        for entry in case.context
    )


def _file_changes(difference: Difference, case: Case) -> bool:
    """Say whether the change is one of a file's mode."""
    return not _directory_changes(difference, case)


def _names_a_link(difference: Difference, case: Case) -> bool:
    """Say whether the message names no file, or a link on top of the context or of a stage."""
    named = re.search(r'"/([^/"]*)": not found$', difference.theirs)
    links = {entry.path for entry in case.context if entry.kind == "link"}
    made = set(re.findall(r"ln -s \S+ /(\w+)", case.dockerfile()))
    return named is None or named[1] in links | made


REPLACED_DIRECTORY = (
    r'"name": "(?:\./)?([^"]+?)/?",\s+"kind": "dir".*?"name": "(?:\./)?\1",\s+"kind": "(?:{kinds})"'
)
"""An archive with a directory whose name a later member has."""

EXPLAINED: tuple[Explained, ...] = (
    Explained(
        name="directory times of a context",
        reason="BuildKit gives them the time of the transfer; ours are those of the context, the same on every machine",
        kind=r"root\.mtime", place=r".* \(dir\)", theirs="now", ours="160000000[01]|946684800|0", case="COPY|ADD",
    ),
    Explained(
        name="directories above a destination, with SOURCE_DATE_EPOCH",
        reason="BuildKit sets their time, then changes it by what it makes in them",
        kind=r"root\.mtime", place=r".* \(dir\)", theirs="now", ours="1400000000", case="SOURCE_DATE_EPOCH=1400000000",
    ),
    Explained(
        name="dockerd's umask on new directories, two bits",
        reason="dockerd has the umask 022, buildkitd 0: a numeric mode with special bits goes through it",
        kind=r"root\.mode", place=r".* \(dir\)", theirs="0o755", ours="0o777", case="--chmod=[17]777",
    ),
    Explained(
        name="dockerd's umask on new directories, one bit",
        reason="as above",
        kind=r"root\.mode", place=r".* \(dir\)", theirs="0o750", ours="0o770", case="--chmod=2770",
    ),
    Explained(
        name="user xattrs",
        reason="BuildKit exports security.capability alone; a step, archive or context that sets others wants them",
        kind=r"root\.xattrs", theirs=r"\{\}", ours=r"\{'user\.[^']*': '[^']*'\}",
    ),
    Explained(
        name="copied block devices",
        reason="BuildKit makes character devices of them",
        kind=r"root\.kind", theirs="char", ours="block", case=r"mknod \S+ b",
    ),
    Explained(
        name="sockets of a context",
        reason="BuildKit makes empty files of them",
        kind=r"layers\.names|root\.entry", place=r"(.*[ /])?app\.sock( \(file\))?", theirs=r"\+|file", ours="absent", case='"socket"',
    ),
    Explained(
        name="sockets of a context that a wildcard copies onto a file",
        reason="as above",
        kind=r"root\.(kind|mode|uid|gid|size|mtime|content|xattrs)",
        case='"path": "app\\.sock",\\s+"kind": "socket"', when=_copied(has_wildcard, stage=False),
    ),
    Explained(
        name="changes of sockets",
        reason="they are no part of a context",
        kind="cached", theirs="runs", ours="CACHED", case=r'"change": \{\s+"kind": "\w+",\s+"path": "[^"]*app\.sock"',
    ),
    Explained(
        name="names of whiteouts",
        reason="such a file cannot be stored in an image; BuildKit loses it, and what it names",
        kind="outcome", theirs="succeeds", ours=r"/.*\.wh\.\S* cannot be stored in an image: .*", case=r"\.wh\.",
    ),
    Explained(
        name="history of images without one",
        reason="BuildKit writes the name under which the layer was pulled first: it depends on what was built before",
        kind=r"config\.history", place="created_by", theirs='"(pulled from .*|created by buildkit)"', ours='"pulled from an image without history"', case="base:nohistory",
    ),
    Explained(
        name="dates of layers without history",
        reason="BuildKit takes the time of the pull; ours have none: an image must not depend on when its base was pulled",
        kind=r"config\.(history|created)", place="created", theirs='"now"', ours="null", case="base:(nohistory|undated)",
    ),
    Explained(
        name="history of steps upon an image without one",
        reason="BuildKit's internal description of a RUN; ours is the step's name, which BuildKit has for the other instructions",
        kind=r"config\.history", place="created_by", theirs='"mount / from exec .*"', ours=r'"\[.*\] RUN .*"', case="base:nohistory",
    ),
    Explained(
        name="history of HEALTHCHECK",
        reason="newer: BuildKit 0.25 prints Go's pointer, its master the fields",
        kind=r"config\.history", place="created_by", theirs=r'"HEALTHCHECK &\{.*', ours=r'"HEALTHCHECK \{Test:.*', case="HEALTHCHECK",
    ),
    Explained(
        name="CopyIgnoredFile",
        reason="newer: the check is on by default in BuildKit's master",
        kind=r"warnings(\.failing)?", place=r'CopyIgnoredFile: Attempting to (Copy|Add) file "[^"]+" that is excluded by \.dockerignore \(line \d+\)', theirs="0 times",
        case="dockerignore|ignore",
    ),
    Explained(
        name="warnings beside an image that has not the platform",
        reason="BuildKit stops as soon as one image is missing; ours looks at all of them, and at all platforms",
        kind=r"warnings\.failing", theirs="0 times", case=r"linux/(386|riscv64).*base:multi|base:multi.*linux/(386|riscv64)",
    ),
    Explained(
        name="users without /etc/passwd",
        reason="BuildKit reads a file that it could not open; numbers need no file",
        kind="outcome|message", theirs=r"process .* did not complete successfully: unable to find user \S+: invalid argument", case="USER",
    ),
    Explained(
        name="names that begin or end with a blank",
        reason="BuildKit trims the patterns that it asks the client for, and then misses the file",
        kind="outcome", theirs=r'(lstat |.*")/( [^:"]*|[^:"]* )"?: (no such file or directory|not found)', ours="succeeds", case=r'"path": "([^"]*/)? |"path": "[^"]* "',
    ),
    Explained(
        name="links on top of what is copied whole but for exclusions",
        reason="BuildKit follows them, as it does sources that are links themselves: it fails if they dangle or lead in circles",
        kind="outcome", theirs=r'failed to compute cache key: failed to calculate checksum of ref \S+: ("/[^/"]*": not found|too many links)', ours="succeeds",
        case=r'(COPY|ADD)[^\n]* --exclude=[^\n]*[ \[]"?(\./|\.|/)"?,? [^\n]*\n', when=_names_a_link,
    ),
    Explained(
        name="changed modes of directories, cached",
        reason="BuildKit misses a directory's changed mode",
        kind="cached", theirs="CACHED", ours="runs", case=r'"change": \{\s+"kind": "mode"', when=_directory_changes,
    ),
    Explained(
        name="changed modes of directories",
        reason="as above",
        kind=r"root\.mode", place=r".* \(dir\)", ours="0o[1-7]?711", case=r'"change": \{\s+"kind": "mode"', when=_directory_changes,
    ),
    Explained(
        name="changed modes of directories, changed again by symbols",
        reason="as above",
        kind=r"root\.mode", place=r".* \(dir\)", case=r'--chmod=(\$|[^\s0-7]).*"change": \{\s+"kind": "mode"', when=_directory_changes,
    ),
    Explained(
        name="changes of files that are copied although excluded, cached",
        reason="BuildKit copies a file that is named and excluded, but leaves it out of the cache key",
        kind="cached", place=r".*(COPY|ADD) .*--exclude=\S+ .*", theirs="CACHED", ours="runs", case=r'"kind": "(edit|mode)"',
    ),
    Explained(
        name="changes of files that are copied although excluded",
        reason="as above",
        kind=r"root\.(mode|size|content)", place=r".* \(file\)", case=r'--exclude=\*\* .*"change": \{\s+"kind": "(edit|mode)"',
    ),
    Explained(
        name="directories of an archive that become links which lead to nothing in it",
        reason="BuildKit sets the directory's times in the end, through the link that has taken its place",
        kind="outcome", theirs=r"chtimesat [^:]*: (no such file or directory|path escapes from parent)", ours="succeeds", case=REPLACED_DIRECTORY.format(kinds="link"),
    ),
    Explained(
        name="attributes of an archive's links which lead to nothing in it",
        reason="BuildKit sets them on what the link leads to; ours are the link's own, where the kernel lets links have them",
        kind="outcome", theirs=r'lsetxattr /[^:]*: xattr "user\.note": no such file or directory|too many links', ours="succeeds",
        case=r'"kind": "link",[^{}]*"target": "[^"]*",\s+"xattr": "v",\s+"form": "pax"',
    ),
    Explained(
        name="attributes of an archive's links which lead through a file, before a member that is refused",
        reason="as above: BuildKit fails at the link, ours at the member after it",
        kind="message", theirs=r"lstat /[^:]*: not a directory", ours=r".*: damaged archive: .*",
        case=r'"kind": "link",[^{}]*"target": "[^"]*",\s+"xattr": "v",\s+"form": "pax"',
    ),
    Explained(
        name="directories of an archive that become something else",
        reason="BuildKit gives the directory's time to what has taken its place",
        kind=r"root\.mtime", place=r".* \((file|link|fifo)\)", theirs="0|1|1500000000", ours="0|1|1500000000", case=REPLACED_DIRECTORY.format(kinds="file|link|fifo|hard"),
    ),
    Explained(
        name="links in a context by way of what is not there",
        reason="BuildKit cleans a link's text before it follows it, ours goes where the kernel does",
        kind="outcome", theirs="succeeds", ours=r'"/[^"]*" not found in the local directory .*', case='"target": "deep/\\.\\./f"',
    ),
    Explained(
        name="names with a backslash",
        reason="BuildKit takes them for patterns when it asks the client for files",
        kind="outcome", theirs=r'(failed to compute .*: "|lstat )/([^"]*/)?b\\+s\.txt"?: (not found|no such file or directory)', ours="succeeds", case=r"b\\+s\.txt",
    ),
    Explained(
        name="steps that set the mode of a file whose mode changed",
        reason="it is set anyway: the result is the same, and so are the steps after it",
        kind="cached", theirs="runs", ours="CACHED", case=r'(COPY|ADD)(?![^\n]* --from=)[^\n]* --chmod=[0-7]+ .*"change": \{\s+"kind": "mode"', when=_file_changes,
    ),
    Explained(
        name="names that begin with an exclamation mark",
        reason="BuildKit takes them for exclusions when it asks the client for files",
        kind="outcome", theirs=r'(failed to compute .*|.*")/(.*/)?!bang"?: (no such file or directory|not found)', ours="succeeds", case="!bang",
    ),
    Explained(
        name="mounts upon links in circles",
        reason="BuildKit leaves it to the runtime to fail, ours says what is wrong",
        kind="message", theirs=r"process .* did not complete successfully: exit code: 1", ours=r"cannot mount .*: Too many levels of symbolic links",
    ),
    Explained(
        name="time of /etc after a step",
        reason="BuildKit's own mount points in it change its time; ours leave no trace",
        kind=r"root\.mtime", place=r"(.*/)?etc \(dir\)", theirs="now", ours="1500000000", case="RUN|base:onbuild",
    ),
    Explained(
        name="time of /etc after a step, copied",
        reason="as above",
        kind=r"root\.mtime", place=r".* \(dir\)", theirs="now", ours="1500000000", case="RUN|base:onbuild", when=_copied(lambda source: clean_path("/" + source) == "/etc", stage=True),
    ),
    Explained(
        name="times of root directories",
        reason="no layer holds them: a copy of a root must not depend on whether the stage was cached or pulled",
        kind=r"root\.mtime", place=r".* \(dir\)", theirs="946684800|160000000[01]|0", ours="now", when=_copied(lambda source: clean_path("/" + source) == "/", stage=True),
    ),
    Explained(
        name="exit code of what the runtime cannot start",
        reason="BuildKit passes on runc's own, ours is a shell's",
        kind="message", theirs=r"process .* did not complete successfully: exit code: 1", ours=r".* exit code: 12[67]: runc run failed: unable to start container process: .*",
    ),
    Explained(
        name="tags that other builds fetched",
        reason="BuildKit has one repository for each remote, and copies its tags; those of ours are the ones that were asked for",
        kind=r"layers\.names|root\.entry", place=r"(\d+: )?(.*/)?\.git/(refs/tags/v1(-a)?|objects/36(/53475c\w+)?)( \(\w+\))?", theirs=r"\+|file|dir", ours="absent",
        case="--keep-git-dir",
    ),
    Explained(
        name="hard links to a lower layer's file",
        reason="BuildKit exports a second, independent file; ours shows what the step made",
        kind=r"root\.hardlinks", place="bin/again bin/busybox", theirs="apart", ours="together", case="ln /bin/busybox /bin/again",
    ),
    Explained(
        name="hard links of a context, one name of which is there already",
        reason="BuildKit leaves out the name that has not changed, so that they become two files; ours stay one file",
        kind=r"root\.hardlinks", theirs="apart", ours="together", case=r'COPY.*"kind": "hard"',
    ),
    Explained(
        name="the unchanged name of such hard links is in the layer",
        reason="a link needs its file in the same layer",
        kind=r"layers\.names", place=r"\d+: .* \(file\)", theirs="absent", ours=r"\+", case=r'COPY.*COPY.*"kind": "hard"',
    ),
    Explained(
        name="the first name of such a hard link is in the layer",
        reason="a link needs its file in the same layer",
        kind=r"layers\.names", place=r"\d+: bin/busybox \(file\)", theirs="absent", ours=r"\+", case="ln /bin/busybox /bin/again",
    ),
    Explained(
        name="no layers",
        reason="BuildKit writes null; image-spec demands an array",
        kind=r"manifest\.layers", place="layers", theirs="null", ours=r"\[\]",
    ),
)  # fmt: skip


def explanation(difference: Difference, case: Case) -> Explained | None:
    """Return what explains a difference."""
    return next((one for one in EXPLAINED if one.covers(difference, case)), None)
