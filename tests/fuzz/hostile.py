# SPDX-License-Identifier: Apache-2.0
"""A registry that misbehaves as a random source decides: statuses, headers, bodies, framing, redirects, stalls."""

from __future__ import annotations

import copy
import gzip
import json
import random
import socket
import threading
from dataclasses import field

from llbkit.records import dataclass
from llbkit.worker.oci import CONFIG, INDEX, LAYER, MANIFEST, digest_of

STATUSES = [100, 103, 200, 201, 202, 204, 206, 301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 408, 413, 416, 418, 429,
            500, 501, 502, 503, 504, 599, 999]  # fmt: skip
URLS = ["", "/", "//", "?", "#", "http://[::1", "http://", "https://", "http:///x", "ftp://x/y", "http://a:99999/", "http://a:b@",
        "http://{self}\\@{other}/", "http://{other}@{self}/", "file:///etc/passwd", "http://127.0.0.1:1/", "\x00", "ü://ü", "http://ü/",
        "http://{self}/v2/loop", "http://{other}/v2/loop", "http://{other}/away", "//{other}/away", "../..", "http://{self}/" + "a" * 70000,
        "http://" + "a." * 300, "http://0x7f.1/", "http://{self}:1/", "javascript:x", "data:,x", "http://\u212a/", "https://{self}/"]  # fmt: skip
VALUES = ["", " ", "abc", "-1", "1e9", "nan", "inf", "99999999999999999999", "²", "0x10", "\xff\xfe", "\x1b[31m", "a" * 60000, "1, 2",
          "bytes", "gzip", "gzip, gzip, gzip", "deflate", "br", "zstd", "chunked", "identity", "sha256:" + "0" * 64, "sha256:x", "text/html",
          "application/json; charset=x", "close", "keep-alive", "Wed, 21 Oct 2099 07:28:00 GMT"]  # fmt: skip
HEADERS = ["Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Docker-Content-Digest", "Location", "Retry-After",
           "WWW-Authenticate", "Content-Range", "Connection", "ETag", "Last-Modified", "Content-Disposition", "Set-Cookie", "Link"]  # fmt: skip
CHALLENGES = ["Basic", "Bearer", 'Basic realm="x"', 'Bearer realm="http://{self}/token",service="s",scope="repository:a:pull"',
              'Bearer realm="http://{other}/token"', 'Bearer realm="{url}"', 'Bearer realm="http://{self}/token", Basic realm="x"', "Negotiate",
              'Bearer realm="' + "\\\\" * 500, "Bearer " + " " * 5000 + "(", "," * 5000, 'Bearer realm="a', "=", 'Digest a="b", Bearer realm="http://{self}/token?a=b"']  # fmt: skip
TOKENS = ["t", "", "a\nb", "ü", "a b", "\ud800", "x" * 100000, None, 5, [], {}, True]
ODD = [
    None,
    True,
    -1,
    0,
    1.5,
    1e400,
    10**30,
    "",
    "x",
    "\ud800",
    "\0",
    [],
    {},
    [None],
    [[]],
    [{}],
    {"": None},
    "a" * 5000,
    "sha256:" + "f" * 64,
]

BOMB = gzip.compress(bytes(1 << 27), 9)
"""128 MiB in 130 kB."""

STALL = b"stall"
"""What is sent without end is nothing."""


@dataclass
class Reply:
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


class Content:
    """A valid image, as what a registry would answer."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        tar = bytes(range(256)) * 600 + bytes(10240)
        layers = [self._blob(LAYER + "+gzip", gzip.compress(tar + bytes([n]), mtime=0)) for n in range(2)]
        config = self._blob(
            CONFIG,
            json.dumps(
                {
                    "architecture": "amd64", "os": "linux", "config": {"Env": ["A=b"]},
                    "rootfs": {"type": "layers", "diff_ids": [digest_of(tar + bytes([n])) for n in range(2)]},
                    "history": [{"created_by": "x"}] * 2,
                }
            ).encode(),
        )  # fmt: skip
        self.manifest = self._manifest(
            MANIFEST, {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
        )
        platform = {"architecture": "amd64", "os": "linux"}
        self.index = self._manifest(
            INDEX,
            {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**self.manifest, "platform": platform}]},
        )

    def _blob(self, kind: str, data: bytes) -> dict[str, object]:
        self.blobs[digest_of(data)] = data
        return {"mediaType": kind, "digest": digest_of(data), "size": len(data)}

    def _manifest(self, kind: str, table: dict[str, object]) -> dict[str, object]:
        data = json.dumps(table).encode()
        self.manifests[digest_of(data)] = (kind, data)
        return {"mediaType": kind, "digest": digest_of(data), "size": len(data)}

    def answer(self, method: str, path: str) -> Reply:
        name = path.partition("?")[0].rpartition("/")[2]
        if path.startswith("/token"):
            return Reply(200, [], b'{"token": "the-token", "expires_in": 300}')
        if "/manifests/" in path and method in ("GET", "HEAD"):
            digest = name if ":" in name else str(self.index["digest"])
            if digest not in self.manifests:
                return Reply(404, [], b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no"}]}')
            kind, data = self.manifests[digest]
            return Reply(200, [("Content-Type", kind), ("Docker-Content-Digest", digest)], data)
        if "/manifests/" in path:
            return Reply(201)
        if "/tags/" in path:
            return Reply(200, [], b'{"name":"a","tags":["1","2"]}')
        if method == "POST":
            return Reply(202, [("Location", "/v2/a/blobs/uploads/1?state=x")])
        if method == "PUT":
            return Reply(201)
        if name in self.blobs:
            return Reply(200, [("Content-Type", "application/octet-stream")], self.blobs[name])
        return Reply(404) if "/blobs/" in path else Reply(200, [("ETag", '"1"')], b"a file")


class Mischief:
    """Changes replies and how they are sent. ``addresses`` are those of the registry and of another host."""

    def __init__(self, source: random.Random, rate: float, addresses: tuple[str, str]) -> None:
        self.source = source
        self.rate = rate
        self.addresses = addresses

    def text(self, template: str) -> str:
        own, other = self.addresses
        url = self.source.choice(URLS) if "{url}" in template else ""
        return template.replace("{url}", url).replace("{self}", own).replace("{other}", other)

    def change(self, reply: Reply) -> None:
        if self.source.random() > self.rate:
            return
        for _ in range(self.source.choice((1, 1, 1, 2, 3))):
            match self.source.randrange(9):
                case 0:
                    reply.status = self.source.choice(STATUSES)
                case 1:
                    reply.headers.append((self.source.choice(HEADERS), self.text(self.source.choice(VALUES))))
                case 2 if reply.headers:
                    at = self.source.randrange(len(reply.headers))
                    reply.headers[at] = (reply.headers[at][0], self.text(self.source.choice(VALUES)))
                case 3:
                    reply.status = self.source.choice((301, 302, 307, 308))
                    reply.headers.append(("Location", self.text(self.source.choice(URLS))))
                case 4:
                    reply.status = 401
                    reply.headers.append(("WWW-Authenticate", self.text(self.source.choice(CHALLENGES))))
                case 5:
                    reply.body = self.json(reply.body)
                case 6:
                    reply.body = self.bytes(reply.body)
                case 7:
                    names = [name for name, _ in reply.headers]
                    reply.headers = [
                        (name, self.text(self.source.choice(URLS)) if name == "Location" else value)
                        for name, value in reply.headers
                        if name == "Location" or self.source.random() > 0.5
                    ] + [("X", "y")] * self.source.choice((0, 0, 99, 5000)) * (not names or 1)
                case 8:
                    reply.headers.append(("Content-Encoding", "gzip"))
                    reply.body = BOMB

    def json(self, data: bytes) -> bytes:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return self.source.choice(
                (b"{}", b"[]", b"null", b'"x"', b"[" * 100000, b'{"a":' * 50000, b"1" * 5000)
            )
        if isinstance(value, dict) and "token" in value:
            value = {**value, "token": self.source.choice(TOKENS), "expires_in": self.source.choice(ODD)}
        for _ in range(self.source.choice((1, 2))):
            self._spoil(value)
        return json.dumps(value).encode()

    def _spoil(self, value: object) -> None:
        """Put something odd somewhere into a JSON value."""
        while isinstance(value, dict | list) and value:
            key = (
                self.source.choice(list(value))
                if isinstance(value, dict)
                else self.source.randrange(len(value))
            )
            inner = value[key]
            if not isinstance(inner, dict | list) or not inner or self.source.random() < 0.3:
                if isinstance(value, dict) and self.source.random() < 0.2:
                    del value[key]
                else:
                    value[key] = copy.deepcopy(self.source.choice(ODD))
                return
            value = inner

    def bytes(self, data: bytes) -> bytes:
        at = self.source.randrange(len(data) + 1)
        return self.source.choice(
            (data[:at], data + b"x", data[:at] + b"\0" + data[at + 1 :], b"", b"\xff" * 100, b"x" * (5 << 20))
        )

    def send(self, connection: socket.socket, method: str, reply: Reply, over: threading.Event) -> bool:
        """Send a reply; tell whether the connection may be used on."""
        names = {name.lower() for name, _ in reply.headers}
        if "content-length" not in names and "transfer-encoding" not in names:
            reply.headers.append(("Content-Length", str(len(reply.body))))
        lines = [f"HTTP/1.1 {reply.status} X", *(f"{name}: {value}" for name, value in reply.headers), "", ""]
        head = "\r\n".join(lines).encode("utf-8", "replace")
        body = b"" if method == "HEAD" else reply.body
        if self.source.random() < self.rate * 0.4:
            self._misframe(connection, head, body, over)
            return False
        connection.sendall(head + body)
        return "close" not in names

    def _misframe(self, connection: socket.socket, head: bytes, body: bytes, over: threading.Event) -> None:
        bare = b"\r\n".join(
            line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")
        )
        chunked = bare[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
        start, endless = self.source.choice(
            (
                (b"", b""),
                (head + body[: len(body) // 2], b""),
                (head[: len(head) // 2], b""),
                (chunked + b"zz\r\n" + body, b""),
                (b"\x16\x03\x01garbage\r\n\r\n", b""),
                (b"", STALL),
                (head, STALL),
                (head + body[: len(body) // 2], STALL),
                (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
                (bare + body, b"x" * 65536),
                (chunked, b"1\r\nx\r\n"),
                (chunked, b"0" * 65536),
                (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 1000),
                (head[:-2], b"y" * 65536),
            )
        )
        connection.sendall(start)
        if endless == STALL:
            over.wait()
        while endless and not over.is_set():
            connection.sendall(endless)
