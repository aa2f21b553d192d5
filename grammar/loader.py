# SPDX-License-Identifier: Apache-2.0
"""Loading ``.lark`` files: LALR tables are built once and kept in the user's cache directory."""

from __future__ import annotations

import hashlib
import os
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lark import Lark, Token
from lark.lexer import Lexer

__all__ = ["Lexer", "Token", "load"]

_HERE = Path(__file__).parent
_lock = threading.Lock()
_loaded: dict[tuple[str, object], Lark] = {}


def load(name: str, *, lexer: Any = "contextual", transformer: Any = None) -> Lark:
    """Return the parser of ``grammar/NAME.lark``; ``lexer`` may be a lexer class of Lark's.

    Tables come from the cache directory (``$XDG_CACHE_HOME/llbkit``), keyed by the grammar's text and Lark's version; a
    cache that cannot be read or written is done without.
    """
    key = (name, lexer)
    with _lock:
        if key not in _loaded:
            _loaded[key] = _build(name, lexer, transformer)
        return _loaded[key]


def _build(name: str, lexer: Any, transformer: Any) -> Lark:
    text = (_HERE / f"{name}.lark").read_text("utf-8")
    options: dict[str, Any] = {
        "parser": "lalr",
        "lexer": lexer,
        "propagate_positions": False,
        "maybe_placeholders": False,
    }
    if transformer is not None:
        options["transformer"] = transformer
    path = _cache_file(name, text)
    if path is not None and lexer == "contextual" and transformer is None:
        options["cache"] = str(path)
    return Lark(text, **options)


def _cache_file(name: str, text: str) -> Path | None:
    home = os.environ.get("XDG_CACHE_HOME") or (
        f"{os.environ['HOME']}/.cache" if os.environ.get("HOME") else ""
    )
    if not home:
        return None
    folder = Path(home) / "llbkit"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder / f"{name}-{version('lark')}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
