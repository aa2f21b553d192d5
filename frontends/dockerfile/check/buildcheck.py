# SPDX-License-Identifier: Apache-2.0
"""What BuildKit's build checks have beside other rules: a page in its documentation."""

from __future__ import annotations

import re
from typing import ClassVar

from llbkit.frontends.kit.lint.rule import Rule

_URL = "https://docs.docker.com/go/dockerfile/rule/{}/"


class BuildCheck(Rule):
    """A build check. ``linked`` ones have a page."""

    linked: ClassVar[bool] = True

    @classmethod
    def url(cls) -> str:
        """Return where the check is documented: ``WorkdirRelativePath`` is ``workdir-relative-path`` there."""
        slug = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", cls.name).lower()
        return _URL.format(slug) if cls.linked else ""
