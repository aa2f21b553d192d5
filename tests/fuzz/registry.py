# SPDX-License-Identifier: Apache-2.0
"""Pull from, push to and ask a registry that misbehaves: whatever it does, a result or a typed error comes back in time.

    python -m tests.fuzz.registry [--seconds N] [--seed N] [--cases N]

Each case is one seed: it decides what the registry does wrong and what is asked of it. Checked are the kind of error, that
it names the source and a next step, how long it took, memory, that nothing but verified blobs is in the store, and that no
other host was sent credentials. ``--cases 1 --seed N`` repeats case N.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import resource
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

from llbkit.worker.session.base import Session

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.sockets import raw_server

import llbkit.worker.registry.client
import llbkit.worker.registry.response
from llbkit.llb.address.reference import parse
from llbkit.llb.ir.ops import Platform
from llbkit.worker.base import WorkerError
from llbkit.worker.content.store import ContentStore
from llbkit.worker.host.pools import Cancelled, Token
from llbkit.worker.images import ImageStore
from llbkit.worker.oci import Descriptor
from llbkit.worker.registry.client import RegistryProvider
from llbkit.worker.registry.dockerconfig import Credentials
from llbkit.worker.registry.push import Push, Pusher
from llbkit.worker.registry.transport import Transport
from llbkit.worker.session.local import LocalSession
from llbkit.worker.sources.http import HttpSource
from llbkit.worker.sources.image import ImageResolver
from llbkit.worker.state.directory import StateDir
from llbkit.worker.state.metadata import Metadata
from tests.fuzz.hostile import Content, Mischief, Reply

PASSWORD = "pass-word"
SLOW = 20.0
"""Seconds after which a case counts as one that hangs; deadlines are a fraction of a second here."""

ENDLESS = 5.0
"""Seconds after which a case is cancelled that receives a file without a known length."""

MEMORY = 400 << 20
PATIENCE = 0.25


class Wrong(Exception):  # noqa: N818
    """A case ended as it must not."""


class Servers:
    """The registry and another host, which behave as the case at hand says."""

    def __init__(self, stack: ExitStack) -> None:
        self.content = Content()
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.leaks: list[bytes] = []
        self.challenges: list[str] = []
        self.own = stack.enter_context(raw_server(lambda *args: self._answer(*args, own=True)))
        self.other = stack.enter_context(raw_server(lambda *args: self._answer(*args, own=False)))
        self.mischief = Mischief(random.Random(0), 0.0, (self.own, self.other))

    def begin(self, seed: int) -> random.Random:
        """Begin a case."""
        self.over.set()
        source = random.Random(seed)
        self.over = threading.Event()
        self.leaks, self.challenges = [], []
        self.mischief = Mischief(source, source.choice((0.1, 0.3, 0.6)), (self.own, self.other))
        return source

    def _answer(self, connection, head: bytes, ended: threading.Event, *, own: bool) -> None:
        over, mischief = self.over, self.mischief
        method, path, *_ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        body = _body(connection, head, ended)
        trusted = f"http://{self.other}{path.partition('?')[0]}"  # if the registry itself names it as its token server
        secret = b"authorization:" in head.lower() or PASSWORD.encode() in body
        named = any(f'realm="{trusted}' in challenge for challenge in self.challenges)
        if secret and not own and not named:
            self.leaks.append(head + body)
        with self.lock:
            reply = self.content.answer(method, path) if own else Reply(200, [], b"elsewhere")
            mischief.change(reply)
            if own:
                self.challenges += [value for name, value in reply.headers if name == "WWW-Authenticate"]
        if not mischief.send(connection, method, reply, over):
            with suppress(OSError):
                connection.shutdown(2)


def _body(connection, head: bytes, ended: threading.Event) -> bytes:
    """Return the last 64 KiB of a request's body."""
    fields = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0].strip()
    data = head.partition(b"\r\n\r\n")[2]
    left = int(fields or 0) - len(data)
    while left > 0 and not ended.is_set():
        with suppress(TimeoutError):
            piece = connection.recv(1 << 16)
            if not piece:
                break
            left -= len(piece)
            data = (data + piece)[-(1 << 16) :]
    return data


class Client:
    """What is asked, with a state directory of its own."""

    def __init__(self, folder: Path, servers: Servers) -> None:
        self.servers = servers
        self.asked = ""
        self.database = Metadata(folder / "metadata.db")
        self.store = ContentStore(StateDir(folder))

    def run(self, source: random.Random, token: Token) -> None:
        """Ask something."""
        transport = Transport(
            credentials=lambda *_: source.choice((Credentials(), Credentials("me", PASSWORD), Credentials("", "refresh"))),
            sleep=lambda seconds: None,
            patience=PATIENCE,
        )  # fmt: skip
        images = ImageStore(self.database, self.store)
        resolver = ImageResolver(store=self.store, registry=RegistryProvider(transport), images=images)
        name, session = f"{self.servers.own}/a/b:c", LocalSession(id=str(source.random()))
        content = self.servers.content
        self.asked = source.choice(("pull", "pull", "pull", "digest", "push", "file", "blob"))
        match self.asked:
            case "pull":
                self._pull(resolver, name, session, token)
            case "digest":
                self._pull(resolver, f"{name}@{content.index['digest']}", session, token)
            case "push":
                self._push(Pusher(transport, self.store), token)
            case "file":
                files = HttpSource(transport=transport, store=self.store, database=self.database)
                files.fetch(f"http://{self.servers.own}/file", {}, token, session=session)
            case _:
                digest = source.choice(list(content.blobs))
                resolver.blob(f"docker-image+blob://{name}@{digest}", {}, token, session=session)

    def _pull(self, resolver: ImageResolver, name: str, session: Session, token: Token) -> None:
        platform = Platform(architecture="amd64", os="linux")
        resolver.resolve(name, platform, "pull", token, session=session)
        image = resolver.locate(
            f"docker-image://{name}", {"image.resolvemode": "pull"}, platform, token, session=session
        )
        json.loads(image.config)
        for layer, _ in image.layers:
            resolver.fetch(layer, image.source, token)

    def _push(self, pusher: Pusher, token: Token) -> None:
        content = self.servers.content
        blobs = [self._kept("x/layer", data) for data in content.blobs.values()]
        manifests = [self._kept(kind, data) for kind, data in content.manifests.values()]
        pusher.push(
            parse(f"{self.servers.own}/a/b:c"),
            Push(manifests=manifests, blobs=blobs),
            cancel=token,
            need=lambda blob: None,
            report=lambda *_: None,
        )

    def _kept(self, kind: str, data: bytes) -> Descriptor:
        return Descriptor(media_type=kind, digest=self.store.put(data), size=len(data))


def try_one(servers: Servers, seed: int, folder: Path) -> str:
    """Run a case; return how it ended. Raises whatever must not happen."""
    source = servers.begin(seed)
    client = Client(folder, servers)
    token = Token()
    cancelled = source.random() < 0.15
    canceller = threading.Timer(source.random() * PATIENCE if cancelled else ENDLESS, token.cancel)
    canceller.start()
    started = time.monotonic()
    watch = threading.Timer(SLOW, lambda: print(f"seed {seed} hangs", _stack(), flush=True))
    watch.start()
    try:
        client.run(source, token)
        outcome = client.asked
    except WorkerError as error:
        outcome = type(error).__name__
        _check(error, servers)
    except Cancelled:
        outcome = "cancelled" if cancelled else "endless"  # nobody knows how long a file is
        if not cancelled and client.asked not in ("file", "blob"):
            raise
    finally:
        watch.cancel()
        canceller.cancel()
        client.database.close()
    if (took := time.monotonic() - started) > SLOW:
        raise Wrong(f"it took {took:.0f} s")
    if servers.leaks:
        raise Wrong(f"credentials were sent elsewhere: {servers.leaks}")
    for path in (folder / "content" / "blobs").rglob("*"):
        if path.is_file() and hashlib.new(path.parent.name, path.read_bytes()).hexdigest() != path.name:
            raise Wrong(f"the store holds what was not verified: {path}")
    if (most := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) > MEMORY:
        raise Wrong(f"{most >> 20} MiB of memory")
    return outcome


def _check(error: WorkerError, servers: Servers) -> None:
    text = f"{error}\n{error.help}"
    text.encode()
    if servers.own.encode() not in text.encode():
        raise Wrong(f"the error does not name the source: {text}") from error
    if not error.help:
        raise Wrong(f"the error names no next step: {text}") from error
    if len(text) > 3000 or not all(letter.isprintable() or letter == "\n" for letter in text):
        raise Wrong(f"the error is too long or cannot be shown: {text[:3000]!r}") from error


def _stack() -> str:
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    return "".join(traceback.format_stack(frame))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.registry", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--cases", type=int, default=1 << 62)
    parser.add_argument("--seed", type=int, default=None, help="repeat a run")
    given = parser.parse_args()
    first = given.seed if given.seed is not None else random.randrange(1 << 32)
    print(f"seed {first}", flush=True)
    llbkit.worker.registry.response._PIECE_SECONDS = llbkit.worker.registry.response._SMALL_SECONDS = PATIENCE
    llbkit.worker.registry.response._DRAIN_SECONDS = PATIENCE / 2
    llbkit.worker.registry.client._RESUMES = 1
    outcomes: Counter[str] = Counter()
    seen: set[str] = set()
    end, seed = time.monotonic() + given.seconds, first
    with ExitStack() as stack:
        servers = Servers(stack)
        while time.monotonic() < end and seed < first + given.cases:
            with tempfile.TemporaryDirectory(prefix="llbkit-fuzz-") as folder:
                try:
                    outcomes[try_one(servers, seed, Path(folder))] += 1
                except Exception as error:
                    outcomes["FAILED"] += 1
                    trace = "".join(traceback.format_exception(error))
                    places = "\n".join(line for line in trace.splitlines() if line.startswith("  File"))
                    if places + str(error)[:40] not in seen:
                        seen.add(places + str(error)[:40])
                        print(f"seed {seed}\n{trace}", flush=True)
            seed += 1
        servers.over.set()
    print(f"{seed - first} cases, {outcomes['FAILED']} failures: {dict(outcomes)}")
    return bool(outcomes["FAILED"])


if __name__ == "__main__":
    raise SystemExit(main())
