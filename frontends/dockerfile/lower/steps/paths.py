# SPDX-License-Identifier: Apache-2.0
"""Paths inside of images, as BuildKit joins and cleans them for Unix and for Windows."""

from __future__ import annotations

from llbkit.frontends.dockerfile.errors import texts as errors
from llbkit.frontends.kit.errors.located import ProgramError
from llbkit.frontends.kit.golang.quote import go_quote
from llbkit.grammar.patterns.match import clean_path

_WINDOWS = "windows"
_REMOVING = "removing drive letter: "


def join(*parts: str) -> str:
    """Join slash-separated parts and clean the result, as Go's ``path.Join``."""
    kept = [part for part in parts if part]
    return clean_path("/".join(kept)) if kept else ""


def to_slash(path: str, system: str) -> str:
    """Return a path with slashes as separators."""
    return path.replace("\\", "/") if system == _WINDOWS else path


def from_slash(path: str, system: str) -> str:
    """Return a path with the separators of a system."""
    return path.replace("/", "\\") if system == _WINDOWS else path


def is_absolute(path: str, system: str) -> bool:
    """Return whether a path is absolute; on Windows, with a drive letter or a leading separator."""
    path = to_slash(path, system)
    if system == _WINDOWS and path[1:2] == ":":
        path = path[2:]
    return path.startswith("/")


def without_drive(path: str, system: str, *, keep_slash: bool) -> str:
    """Return a path of a Windows image without its drive letter, which must be C; others as they are.

    Raises:
        ProgramError: the path is on another drive, or a share.
    """
    if system != _WINDOWS:
        return path
    try:
        return _without_drive(path, system, keep_slash)
    except ProgramError as error:
        raise error.prefixed(_REMOVING) from None


def _without_drive(path: str, system: str, keep_slash: bool) -> str:
    if len(path) == 2 and path[1] == ":":
        raise errors.windows_path(f"No relative path specified in {go_quote(path)}")
    if to_slash(path[:2], system) == "//":
        raise errors.windows_path("UNC paths are not supported")
    drive, colon, rest = path.partition(":")
    if not colon:
        return _clean(path, system, keep_slash)
    if drive.lower() != "c":
        raise errors.windows_path("The specified path is not on the system drive (C:)")
    return _clean(rest, system, keep_slash)


def _clean(path: str, system: str, keep_slash: bool) -> str:
    path = to_slash(path, system)
    cleaned = clean_path(path)
    return cleaned + "/" if keep_slash and path.endswith("/") and len(cleaned) > 1 else cleaned


def normalize(parent: str, path: str, system: str, *, keep_slash: bool) -> str:
    """Return ``path`` below ``parent``, with slashes; absolute paths are not cleaned.

    Raises:
        ProgramError: the path cannot be one of the system.
    """
    path, parent = to_slash(path, system), to_slash(parent, system) or "/"
    written = path
    parent = without_drive(parent, system, keep_slash=keep_slash)
    if not parent.startswith("/"):
        parent = join("/", parent)
    path = without_drive(path or parent, system, keep_slash=keep_slash)
    if not path.startswith("/"):
        path = join(parent, path)
    if keep_slash and written.endswith("/") and not path.endswith("/"):
        path += "/"
    elif keep_slash and written.endswith("/."):
        path = ("/" if path == "/" else path + "/") + "."
    return to_slash(path, system)


def below_root(path: str, system: str) -> str:
    """Return what an instruction reads as an absolute path, with slashes.

    Raises:
        ProgramError: the path cannot be one of the system; it names the drive letter twice, as BuildKit does.
    """
    try:
        return normalize("/", path, system, keep_slash=False)
    except ProgramError as error:
        raise error.prefixed(_REMOVING) from None
