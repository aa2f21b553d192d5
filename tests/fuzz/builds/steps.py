# SPDX-License-Identifier: Apache-2.0
"""Generates instructions: every one, with every flag that the reference knows."""

from __future__ import annotations

import json
import posixpath
import random
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import PurePosixPath

from tests.fuzz.builds.case import Entry, Step

NUMBERS = ("1000", "1000:44", "0:0", "70000:70000", "0", "7")
NAMED = ("app", "app:data", "web", "1000:data", "app:www", "num:7", "${WHO:-app}")
ODD_OWNERS = (
    "nosuch",
    "app:nosuch",
    "1:nogrp",
    "4294967294",
    "2147483648:1",
    ":data",
    "$WHO",
    "nosuch:nosuch",
    "app",
)
CHMODS = ("${M:-640}", "644", "0755", "4755", "2770", "1777", "7777", "0", "u=rwX,go=rX", "+x", "go-w", "u+s", "g+s", "o+t", "=t", "u=g", "go=u-w", "a+rX", "ug+rw,o-rwx", "-x", "g=u")  # fmt: skip
DESTINATIONS = ("/", "/d/", "/d", "./", ".", "x", "x/", "/new/deep/", "/new/deep/name", "/shared/", "/shared/in/", "/tmp/", "/home/app/", "/opt/link/", "/opt/abs/", "/opt/dangling", "/opt/up/", "/etc/", "/opt/data/a", "/bin/", "../up/", "/a b/", "/$A/", "/opt/data/")  # fmt: skip
USERS = ("app", "1000", "0", "web:data", "33:2000", "root", "70000", "num")
ODD_USERS = ("nosuch", "app:nosuch", "4294967294", "nosuch:7")
WORKDIRS = (
    "/w",
    "rel",
    "/a/b/c",
    "/shared/made",
    "/tmp/w",
    "/opt/link/w",
    "/home/app",
    "..",
    "/opt/abs",
    "$A",
    "/w/",
    "/w/./x/../y",
    "/etc/passwd/x",
)
COMMANDS = (
    "id > /tmp/id", "umask > umask.txt", "env | grep -v HOSTNAME | sort > /env", "ls -ln / | awk 1 > /dev/null", "pwd > /pwd", "echo a > /made; chmod 4755 /made",
    "mkdir -p /m/n; touch /m/n/o", "rm -rf /opt/data", "rm -f /bin/xargs", "mkdir -p /opt/data && rm -rf /opt/data && mkdir /opt/data && touch /opt/data/new",
    "chmod 755 /bin/busybox", "touch -h -d @1400000000 /bin/sh", "ln -s /nowhere /dangling", "ln /bin/busybox /bin/again", "mkfifo /pipe", "mknod /null c 1 3", "mknod /blk b 7 0",
    "mv /bin/tee /bin/tee2", "chown -R 7:7 /opt", "echo x >> /etc/passwd", "cut -d' ' -f2 /proc/mounts | grep -v -e /proc/interrupts -e /sys/devices | sort > /mounts",
    "ls -a /dev | sort > /devs", "cat /etc/hosts > /hosts", "hostname > /hostname", "stat -c '%a %u %g %n' /tmp /etc / /proc /sys /dev /dev/shm > /stats", "grep -i -e cap -e seccomp -e nonewpriv /proc/self/status > /caps",
    "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2 > /shm", "ulimit -n > /nofile", "touch -d @1000000000 /dated", "rm -rf /etc && mkdir /etc", "ln -s b /a; ln -s a /b", "mkdir -p /tmp; chmod 2775 /tmp", "false",
    "cat /etc/resolv.conf > /resolv", "cp -a /bin/sh /copy", "echo \"$A|$B|$X\" > /vars", "dd if=/dev/zero of=/zeros bs=1k count=64 2>/dev/null",
)  # fmt: skip
MOUNTS = (
    "type=cache,target=/c{id}", "type=cache,target=/c,id=shared{id},sharing=locked", "type=cache,target=/c,uid=1000,gid=44,mode=0700,id=u{id}", "type=tmpfs,target=/t", "type=tmpfs,target=/t,size=1m",
    "type=bind,target=/b", "type=bind,target=/b,rw", "type=bind,from=STAGE,source=/,target=/b", "type=secret,id=s,target=/s", "type=secret,id=s,env=SECRET",
    "type=secret,id=nosuch", "type=secret,id=nosuch,env=NOSUCH", "type=secret,id=s,uid=33,gid=44,mode=0440", "type=secret,id=s,required=true,target=/run/s", "type=ssh", "type=cache,target=rel{id}", "type=cache,from=STAGE,target=/c,id=f{id}",
)  # fmt: skip
IN_PLAIN = ("/", "/bin/sh", "/bin", "/etc", "/bin/[a-d]*")
IN_USERS = (
    "/",
    "/bin/sh",
    "/opt",
    "/opt/",
    "/opt/data",
    "/opt/data/*",
    "/opt/data/[ab]",
    "/opt/link",
    "/opt/abs",
    "/opt/link/a",
    "/etc/*",
    "/home",
    "/home/*",
    "/shared",
    "/tmp",
    "/var",
    "/etc/passwd",
    "/opt/up",
    "/opt/*/a",
)
PLAIN_DIGEST = "dacf36547c7774a0a170806363b5d412991fbc0d6260b2c00b1d3a80a816c23f"
SOURCES_OF_FOLDERS = (
    "src",
    "src/",
    "src/.",
    "./src/../src",
    "/src",
    "src/sub",
    "d/",
    "docs",
    "node_modules/./",
    "pages",
)
PATTERNS = (
    "*",
    "*.txt",
    "?",
    "a*",
    "[a-f]*",
    "*/*",
    "src/*",
    "s*/f",
    "**",
    "**/*.txt",
    "d*/f",
    "*.[jt]*",
    "src/**/f",
    "*o*",
    "\\\\*",
    "[[]*",
    "*d*",
    "[!a]*",
    "[^a]*",
)


class Steps:
    """Makes the instructions of one stage. Stages and this one have a kind: ``scratch``, ``plain`` or ``users``, or ``foreign``."""

    def __init__(
        self, source: random.Random, lacks: frozenset[str], *, context: tuple[Entry, ...], named: Mapping[str, tuple[Entry, ...]], stages: Mapping[str, str], kind: str,
    ) -> None:  # fmt: skip
        self._random = source
        self._lacks = lacks
        self._context = context
        self._named = named
        self._stages = list(stages)
        self._bases = stages
        self._numbers = {name: int(name[1:]) for name in stages}
        self._runs = kind in ("plain", "users")
        self._users = kind == "users"

    def step(self) -> Step:
        """Return the next instruction."""
        kinds: list[tuple[int, Callable[[], Step]]] = [
            (30, self._copy),
            (18, self._add),
            (4, self._heredoc),
            (7, self._workdir),
            (4, self._user),
            (14, self._setting),
        ]
        if self._runs:
            kinds.append((16, self._run))
        weights = [weight for weight, _ in kinds]
        return self._random.choices([make for _, make in kinds], weights)[0]()

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _one(self, usual: Sequence[str], odd: Sequence[str]) -> str:
        """Return a usual word, seldom an odd one: most of what makes builds fail is odd."""
        return self._random.choice(odd if self._chance(0.05) else usual)

    def _inside(self, stage: str) -> Sequence[str]:
        return {"scratch": ("/",), "users": IN_USERS}.get(self._bases[stage], IN_PLAIN)

    def _copy(self) -> Step:
        flags: list[str] = []
        entries = self._context
        rooted = ""
        sources = [*self._stages, *self._named]
        if self._chance(0.25) and sources:
            name = self._random.choice(sources)
            number = self._numbers.get(name)
            flags.append(f"--from={number if number is not None and self._chance(0.2) else name}")
            if name in self._named:
                entries = self._named[name]
            else:
                return self._step(
                    "COPY", flags, [self._one(self._inside(name), ("/d", "/x*", "/made", "/a", "/nosuch/*"))]
                )
        elif self._chance(0.06):
            flags.append("--from={registry}/base:users")
            return self._step("COPY", flags, [self._one(IN_USERS, ("/nosuch", "/opt/dangling"))])
        count = self._random.choice((1, 1, 1, 2, 3))
        return self._step("COPY", flags, [rooted + self._source(entries) for _ in range(count)])

    def _step(self, verb: str, flags: list[str], sources: list[str]) -> Step:
        if self._chance(0.25):
            flags.append(f"--chown={self._one(NUMBERS + NAMED if self._users else NUMBERS, ODD_OWNERS)}")
        if self._chance(0.25):
            flags.append(f"--chmod={self._random.choice(CHMODS)}")
        if self._chance(0.2):
            flags.append("--link")
        if self._chance(0.12):
            flags.append(
                f"--exclude={self._random.choice(('*.txt', 'a', '**/f', 'src', '**', '*', 'sub/**', '[id].js', '!a', 'README.md', 'data'))}"
            )
        if verb == "COPY" and self._chance(0.15) and "COPY --parents" not in self._lacks:
            flags.append("--parents")
        destination = self._random.choice(
            DESTINATIONS if self._users else DESTINATIONS[:9] + DESTINATIONS[20:]
        )
        if len(sources) > 1 and not destination.endswith(("/", ".")):
            destination += "/"
        return Step(verb=verb, flags=tuple(flags), body=_words([*sources, destination]))

    def _source(self, entries: tuple[Entry, ...]) -> str:
        source = self._random
        draw = source.random()
        there = {entry.path for entry in entries}
        paths = [
            entry.path
            for entry in entries
            if entry.kind != "socket"
            and (entry.kind != "link" or _leads_to(entry) in there or self._chance(0.1))
        ]
        if not paths:
            return "."
        path = source.choice(paths)
        if draw < 0.55:
            return _literal(path)
        if draw < 0.63:
            return path.rpartition("/")[0] or "."
        if draw < 0.8:
            matching = [pattern for pattern in PATTERNS if any(fnmatch(one, pattern) for one in paths)]
            return source.choice(matching or ["."])
        if draw < 0.9:
            above = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
            folders = [
                one for one in SOURCES_OF_FOLDERS if posixpath.normpath("/" + one).lstrip("/") in above
            ]
            return source.choice((".", "./", "/", *folders))
        return self._one(
            (_literal(path),),
            (
                *PATTERNS,
                "nosuch",
                "nosuch/*",
                "src/nosuch",
                "../a",
                "a/nosuch",
                f"{path}/",
                f"{path}/.",
                f"{path}/*",
                f"{path}*",
            ),
        )

    def _add(self) -> Step:
        draw = self._random.random()
        archives = [_literal(entry.path) for entry in self._context if entry.kind == "archive"]
        if draw < 0.6 and archives:
            flags = ["--unpack=false"] if self._chance(0.05) and "ADD --unpack" not in self._lacks else []
            return self._step("ADD", flags, [self._random.choice(archives)])
        if draw < 0.75:
            path = self._one(
                ("plain.txt", "undated.txt", "dir/named", "a.tar", "a.tar.gz", "disposed", "query?x=1"),
                ("nosuch", "dir/"),
            )
            flags = []
            if path == "plain.txt" and self._chance(0.3):
                flags = ["--checksum=sha256:" + self._random.choice((PLAIN_DIGEST, PLAIN_DIGEST, "0" * 64))]
            return self._step("ADD", flags, ["{http}/" + path])
        if draw < 0.85:
            place = self._one(
                ("{git}", "{git}#main", "{git}#dev", "{git}#v1", "{git}#v1-a:sub", "{git}#main:sub/deep"),
                ("{git}#nosuch", "{git}#main:nosuch"),
            )
            flags = ["--keep-git-dir=true"] if self._chance(0.15) else []
            return self._step("ADD", flags, [place])
        return self._step("ADD", [], [self._source(self._context)])

    def _heredoc(self) -> Step:
        name = self._random.choice(("EOF", "'EOF'", '"EOF"', "-EOF"))
        if self._chance(0.15):
            names = self._random.sample(("one", "two.txt", "'[3]'", "-four"), 2)
            ends = [name.strip("-'") for name in names]
            words = " ".join(f"<<{name}" for name in names)
            return Step(verb="COPY", body=f"{words} /here/\nfirst $A\n{ends[0]}\n\tsecond\n{ends[1]}")
        text = self._random.choice(("hello $A", "a\n\tb", "", "#!/bin/sh\necho hi", "$HOME \\$A"))
        end = name.strip("-'\"")
        step = self._step(self._random.choice(("COPY", "ADD")), [], [f"<<{name}"])
        flags = tuple(flag for flag in step.flags if not flag.startswith(("--exclude", "--parents")))
        return Step(
            verb=step.verb, flags=flags, body=f"{step.body}\n{text}\n{end}" if text else f"{step.body}\n{end}"
        )

    def _workdir(self) -> Step:
        return Step(
            verb="WORKDIR",
            body=self._random.choice(WORKDIRS if self._users else WORKDIRS[:5] + WORKDIRS[7:12]),
        )

    def _user(self) -> Step:
        return Step(verb="USER", body=self._one(USERS if self._users else USERS[1:3], ODD_USERS))

    def _run(self) -> Step:
        source = self._random
        flags: list[str] = []
        command = "; ".join(source.sample(COMMANDS, source.choice((1, 1, 2, 3))))
        if self._chance(0.3):
            stage = source.choice(
                [name for name, kind in self._bases.items() if kind != "foreign"] or ["{registry}/base:users"]
            )
            mount = (
                source.choice(MOUNTS).replace("STAGE", stage).replace("{id}", str(source.randrange(10**9)))
            )
            flags.append(f"--mount={mount}")
            target = next(
                (part.partition("=")[2] for part in mount.split(",") if part.startswith("target=")),
                "/run/secrets/nosuch",
            )
            command += f"; stat -c '%a %u %g' {target} > /mountstat 2>&1; ls -A {target} | grep -v app.sock > /mountlist 2>&1; grep -w {target} /proc/mounts | cut -d' ' -f4 | tr , '\\n' | grep -x -e r[ow] -e no.* -e size=.* | sort > /mountline; echo \"$SECRET|${{NOSUCH-unset}}\" >> /mountline"
        if self._chance(0.06):
            flags.append(
                source.choice(("--network=none", "--network=default", "--security=sandbox", "--network=host"))
            )
        flags = [
            flag for flag in flags if not (flag.startswith("--security") and "RUN --security" in self._lacks)
        ]
        draw = source.random()
        if draw < 0.1:
            return Step(verb="RUN", flags=tuple(flags), body=f"<<EOF\n{command}\nEOF")
        if draw < 0.15:
            return Step(verb="RUN", flags=tuple(flags), body=f"<<EOF\n#!/bin/sh\n{command}\nEOF")
        if draw < 0.22:
            return Step(
                verb="RUN",
                flags=tuple(flags),
                body=json.dumps(["/bin/sh", "-c", command], ensure_ascii=False),
            )
        return Step(verb="RUN", flags=tuple(flags), body=command)

    def _setting(self) -> Step:
        text = self._one(SETTINGS, ODD_SETTINGS)
        verb, _, body = text.partition(" ")
        return Step(verb=verb, body=body)


SETTINGS = (
    "ENV A=1", "ENV A=$A:more B=\"two words\"", "ENV OLD form with spaces", "ENV PATH=/x:$PATH", "ENV E=", "ARG A", "ARG A=default", "ARG WHO=app", "ARG A=1 B=2", "ARG TARGETPLATFORM", "ARG SOURCE_DATE_EPOCH",
    "LABEL a=b", "LABEL a=\"x y\" \"k e y\"=v", "LABEL version=$A", "CMD echo hi", "CMD [\"a\", \"b\"]", "ENTRYPOINT [\"/bin/sh\"]", "ENTRYPOINT exec top", "ENTRYPOINT []", "EXPOSE 80 443/tcp 53/udp", "EXPOSE 8000-8003",
    "VOLUME /v1 /v2", "VOLUME [\"/data\"]", "STOPSIGNAL SIGTERM", "STOPSIGNAL 9", "HEALTHCHECK NONE", "HEALTHCHECK --interval=5s --timeout=3s --start-period=1m --retries=3 CMD true", "HEALTHCHECK CMD [\"true\"]", "SHELL [\"/bin/sh\", \"-ec\"]",
    "ONBUILD RUN echo later", "ONBUILD COPY . /onbuild/", "MAINTAINER somebody <x@example.com>", "LABEL multi.line=\"a\\\nb\"", "ENV Q='single $A' R=${A:-none} S=${A:+some}", "USER ${WHO:-app}", "HEALTHCHECK --start-interval=2s CMD x", "CMD", "LABEL empty=",
    "ARG A=${A:-x}y", "ENV T=${A#g} U=${A%n} V=${A/i/o}", "EXPOSE 80 80 80/tcp",
)  # fmt: skip
ODD_SETTINGS = (
    'CMD ["unclosed"',
    "WORKDIR /x y",
    "STOPSIGNAL $A",
    "EXPOSE $A",
    "VOLUME",
    "RUN exit 3",
    "FOO bar",
    "ENV =x",
    "RUN --mount=type=bind,source=nosuch,target=/b true",
    "COPY a",
    "USER",
    "SHELL sh",
    "ONBUILD FROM x",
)


def _words(words: list[str]) -> str:
    """Return words as an instruction's arguments: JSON if one needs it."""
    if any(
        " " in word or "'" in word or '"' in word or word != word.strip()
        for word in words
        if not word.startswith("<<")
    ):
        return json.dumps(words, ensure_ascii=False)
    return " ".join(words)


def _leads_to(entry: Entry) -> str:
    """Return the path that a symbolic link leads to, if that can be said from the names alone."""
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(entry.path), entry.target)).lstrip("/")


def _literal(path: str) -> str:
    """Return a path as a source that means it: quoted as Dockerfile words and patterns are."""
    return path.replace("\\", "\\\\") if "\\" in path else path
