# SPDX-License-Identifier: Apache-2.0
"""The copy action: destination paths, and the errors for missing sources.

Source of behaviour: BuildKit's file copy. A destination with a trailing slash is a directory; a file copied to an
existing directory goes into it; a directory's contents merge into the destination (``dir_copy_contents``), or the
directory itself goes into an existing one. Missing directories are made with the copy's owner and its mode, if that is a
number, else with 0755. Where a directory's contents go takes that directory's time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from llbkit.grammar.diagnostic import nearest
from llbkit.llb.ir.ops import Copy
from llbkit.worker.base import CancelToken, FileOpError
from llbkit.worker.fs.copy import CopyStyle, copy_picks
from llbkit.worker.fs.modes import ModeChange, parse_mode
from llbkit.worker.fs.owners import Owner
from llbkit.worker.fs.select.selection import Root, of_copy
from llbkit.worker.fs.tree import Tree, join, lookup, relative
from llbkit.worker.fs.writable import WritableRoot
from llbkit.worker.sources.localtree import LocalTree

_NEW_DIRECTORY = 0o755


def copy(
    tree: Tree, root: WritableRoot, action: Copy, owner: Owner | None, token: CancelToken, *, origin: str
) -> None:
    """Carry out a copy from ``tree``, which messages call ``origin``.

    Raises:
        FileOpError: the source does not exist, or something is in the way at the destination.
        OSError: a system call failed.
    """
    roots = sources(tree, action, origin=origin)
    if not action.create_dest_path:
        _require_parent(root, action.dest)
    style = CopyStyle(
        owner=owner,
        mode=_mode(action),
        timestamp=action.timestamp,
        replace=action.always_replace_existing_dest_paths,
    )
    for item in roots:
        if not (action.attempt_unpack and _unpacked(tree, item, root, action, owner, token)):
            target = _target(root, action, item, style)
            copy_picks(tree, item.picks, root, target, style, token)


def sources(tree: Tree, action: Copy, *, origin: str) -> list[Root]:
    """Return what a copy takes from ``tree``, which messages call ``origin``.

    Raises:
        FileOpError: a source does not exist.
    """
    selection = of_copy(action)
    for missing in selection.missing(tree):
        raise not_found(tree, relative(missing), origin)
    roots = selection.roots(tree)
    if not roots and not action.allow_empty_wildcard:
        raise not_found(tree, relative(action.src), origin)
    for item in roots:
        if not item.picks:
            raise not_found(tree, item.chosen, origin)
    return roots


def not_found(tree: Tree, path: str, origin: str) -> FileOpError:
    """Return the error for a missing source, with what may have been meant."""
    message = f'"/{path}" not found in {origin}'
    if isinstance(tree, LocalTree) and tree.excluded(path):
        return FileOpError(
            f"{message}: excluded by .dockerignore",
            help=f"re-include it in .dockerignore with !{path}",
        )
    if isinstance(tree, LocalTree) and tree.exists(path):
        return FileOpError(
            f'nothing in "/{path}" matches in {origin}',
            help="check the wildcards; to match a literal [ write [[]",
        )
    parent, known = "", ""
    for part in path.split("/")[:-1]:
        node = lookup(tree, join(parent, part))
        if node is None or not node.is_dir:
            known = part
            break
        parent = join(parent, part)
    wanted = known or path.rpartition("/")[2]
    # What no step reads was never scanned, but is still what a misspelt name may have meant.
    siblings = tree.siblings(parent) if isinstance(tree, LocalTree) else list(tree.children(parent))
    if (node := tree.children(parent).get(wanted)) is not None:
        place = f"/{join(parent, wanted)}"
        if node.is_link:
            return FileOpError(message, help=f"{place} is a dangling symbolic link to {node.link}")
        return FileOpError(message, help=f"{place} is not a directory")
    close = nearest(wanted, siblings)
    if close is not None:
        return FileOpError(message, help=f"did you mean /{join(parent, close)}?")
    names = siblings
    if not names:
        return FileOpError(message, help=f"/{parent} is empty there")
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return FileOpError(message, help=f"/{parent} has: {listed}")


def _mode(action: Copy) -> ModeChange | None:
    if action.mode_str:
        return parse_mode(action.mode_str)
    if action.mode == -1:
        return None
    mode = action.mode & 0o7777
    return lambda old, is_dir: mode


def _require_parent(root: WritableRoot, dest: str) -> None:
    parent = relative(dest).rpartition("/")[0]
    status = root.lstat(root.resolve(parent))
    if status is None or not stat.S_ISDIR(status.st_mode):
        raise FileOpError(f"copy to {dest}: no such directory: /{parent}", help="create the directory first")


def _target(root: WritableRoot, action: Copy, item: Root, style: CopyStyle) -> str:
    """Return where a root goes, link-free, and make the directories above it."""
    is_dir = item.picks[0].node.is_dir
    wants_directory = action.dest.endswith(("/", "/.")) or action.dest in ("", ".")
    cleaned = relative(action.dest)
    above = cleaned if wants_directory else cleaned.rpartition("/")[0]
    mode = _NEW_DIRECTORY if action.mode_str or action.mode == -1 else action.mode & 0o777
    root.make_directories(root.resolve(above), mode, style.owner, style.timestamp)
    target = root.resolve(cleaned)
    existing = root.lstat(target)
    into = existing is not None and (
        not action.dir_copy_contents if is_dir else stat.S_ISDIR(existing.st_mode)
    )
    if into:
        target = join(target, item.name)
    whole = is_dir and action.dir_copy_contents and existing is None
    parent = target if whole else target.rpartition("/")[0]
    if not is_dir or not existing or into:
        root.make_directories(parent, mode, style.owner, style.timestamp)
    return target


def _unpacked(
    tree: Tree, item: Root, root: WritableRoot, action: Copy, owner: Owner | None, token: CancelToken
) -> bool:
    if not item.picks[0].node.is_file:
        return False
    from llbkit.worker.archive.add import is_archive, unpack

    with tree.open(item.path) as file:
        archive = f"/proc/self/fd/{file.descriptor}"
        if not is_archive(archive):
            return False
        where = root.resolve(relative(action.dest))
        root.make_directories(where, _NEW_DIRECTORY, owner, action.timestamp)
        unpack(archive, root.full(where), token, owner, name=os.path.basename(item.path))
    return True


__all__: Sequence[str] = ("copy", "not_found", "sources")
