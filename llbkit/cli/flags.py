# SPDX-License-Identifier: Apache-2.0
"""The flags that ``build`` and ``compile`` share, and how they become a `BuildRequest`.

Names and meaning are those of ``docker buildx build``; each becomes a frontend attribute of BuildKit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from llbkit.request.csvflags import FlagError, fields, pairs, size

F = TypeVar("F", bound=Callable[..., Any])

_SOURCE_FLAGS: tuple[Callable[[F], F], ...] = (
    click.option(
        "--file", "-f", "dockerfile", metavar="FILE", help="Path of the Dockerfile ('-' for standard input)."
    ),
    click.option("--target", metavar="STAGE", help="Target build stage."),
    click.option("--build-arg", "build_args", multiple=True, metavar="K[=V]", help="Set a build argument."),
    click.option(
        "--build-context", "contexts", multiple=True, metavar="NAME=VALUE", help="Add a named build context."
    ),
    click.option("--label", "labels", multiple=True, metavar="K=V", help="Add a label to the image."),
    click.option("--platform", "platforms", multiple=True, metavar="OS/ARCH", help="Target platform."),
    click.option("--no-cache", is_flag=True, help="Do not use the cache."),
    click.option(
        "--no-cache-filter", multiple=True, metavar="STAGE", help="Do not use the cache for these stages."
    ),
    click.option("--pull", is_flag=True, help="Always pull base images."),
    click.option(
        "--network", type=click.Choice(["default", "none", "host"]), help="Network mode of RUN steps."
    ),
    click.option(
        "--add-host", "add_hosts", multiple=True, metavar="HOST:IP", help="Add a host to /etc/hosts."
    ),
    click.option("--shm-size", metavar="SIZE", help="Size of /dev/shm."),
    click.option("--ulimit", "ulimits", multiple=True, metavar="NAME=SOFT[:HARD]", help="Resource limit."),
    click.option("--cgroup-parent", metavar="PATH", help="Parent cgroup of RUN steps."),
    click.option(
        "--resource",
        "resources",
        multiple=True,
        metavar="K=V",
        help="Limit resources of RUN steps: memory, cpu-quota, ...",
    ),
    click.option(
        "--frontend",
        default="dockerfile.v0",
        metavar="NAME",
        help="Frontend to use.  [default: dockerfile.v0]",
    ),
    click.option("--opt", "opts", multiple=True, metavar="K=V", help="Set a frontend attribute."),
)
_RESOURCES = {
    "memory": "memory",
    "memory-swap": "memswap",
    "cpu-shares": "cpushares",
    "cpu-period": "cpuperiod",
    "cpu-quota": "cpuquota",
    "cpuset-cpus": "cpusetcpus",
    "cpuset-mems": "cpusetmems",
}


def source_flags(function: F) -> F:
    """Add the flags that say what is built from what."""
    for option in reversed(_SOURCE_FLAGS):
        function = option(function)
    return function


def frontend_options(values: dict[str, Any]) -> dict[str, str]:
    """Return the frontend attributes of the source flags.

    Raises:
        FlagError: a value is malformed.
    """
    out: dict[str, str] = {}
    if values["target"]:
        out["target"] = values["target"]
    arguments = _arguments(values["build_args"])
    out |= {f"build-arg:{k}": v for k, v in {**_proxies(arguments), **arguments}.items()}
    out |= {f"label:{k}": v for k, v in key_values("--label", values["labels"]).items()}
    platforms = ",".join(values["platforms"]) or os.environ.get("DOCKER_DEFAULT_PLATFORM", "")
    if platforms:
        out["platform"] = platforms
    if values["no_cache"]:
        out["no-cache"] = ""
    elif values["no_cache_filter"]:
        out["no-cache"] = ",".join(values["no_cache_filter"])
    if values["pull"]:
        out["image-resolve-mode"] = "pull"
    if values["network"] and values["network"] != "default":
        out["force-network-mode"] = values["network"]
    if values["add_hosts"]:
        out["add-hosts"] = ",".join(host(text) for text in values["add_hosts"])
    if values["shm_size"]:
        out["shm-size"] = str(size("--shm-size", values["shm_size"]))
    if values["ulimits"]:
        out["ulimit"] = ",".join(values["ulimits"])
    if values["cgroup_parent"]:
        out["cgroup-parent"] = values["cgroup_parent"]
    out |= _limits(values["resources"])
    return out | key_values("--opt", values["opts"])


def _proxies(given: Mapping[str, str]) -> dict[str, str]:
    """Return the proxies of Docker's configuration file as build arguments, as buildx does, but those given already.

    In a step each is set in upper and lower case; a file that cannot be read is told, and no reason not to build.
    """
    from llbkit.worker.base import SourceError
    from llbkit.worker.registry.dockerconfig import DockerConfig

    names = {name.upper() for name in given}
    try:
        configured = DockerConfig().proxies(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    except SourceError as error:
        click.echo(f"warning: {error}: its proxies are not used", err=True)
        return {}
    return {name: value for name, value in configured.items() if name not in names}


def key_values(flag: str, items: Iterable[str]) -> dict[str, str]:
    """Read repeated ``K=V`` values; the last of equal keys wins.

    Raises:
        FlagError: a value has no ``=``.
    """
    out = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not key or not equals:
            raise FlagError(f"{flag}: {item!r} is not of the form key=value")
        out[key] = value
    return out


def _arguments(items: Iterable[str]) -> dict[str, str]:
    out: dict[str, str] = {}
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        out["SOURCE_DATE_EPOCH"] = epoch
    for item in items:
        key, equals, value = item.partition("=")
        if equals:
            out[key] = value
        elif key in os.environ:
            out[key] = os.environ[key]
    return out


_HOST_GATEWAY = "127.0.0.1"
"""Where steps reach the machine they run on: they share its network."""


def host(text: str) -> str:
    """Read ``--add-host``: return ``host=address``.

    Raises:
        FlagError: the value is malformed.
    """
    separator = "=" if "=" in text else ":"
    name, found, address = text.partition(separator)
    if not found or not name or not address:
        raise FlagError(f"--add-host: {text!r} is not of the form host:ip")
    if address == "host-gateway":
        address = _HOST_GATEWAY
    elif address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    return f"{name}={address}"


def _limits(items: Iterable[str]) -> dict[str, str]:
    out = {}
    for key, value in key_values("--resource", items).items():
        if key not in _RESOURCES:
            raise FlagError(
                f"--resource: unknown resource {key!r}", help="valid resources: " + ", ".join(_RESOURCES)
            )
        if key in ("memory", "memory-swap") and value != "-1":
            out[_RESOURCES[key]] = str(size(f"--resource {key}", value))
        else:
            out[_RESOURCES[key]] = value
    return out


def secret(value: str) -> tuple[str, tuple[str, str]]:
    """Read ``--secret``: return the id and where the value is, ``("file", path)`` or ``("env", name)``.

    Raises:
        FlagError: there is no id, the type is unknown, or the file or variable does not exist.
    """
    parts = pairs("--secret", fields("--secret", value))
    kind = parts.pop("type", "")
    name = parts.pop("id", "")
    path = parts.pop("src", "") or parts.pop("source", "")
    variable = parts.pop("env", "")
    if parts:
        raise FlagError(f"--secret: unknown key {next(iter(parts))!r}", help="valid keys: id, type, src, env")
    if kind not in ("", "file", "env"):
        raise FlagError(f"--secret: unknown type {kind!r}", help="valid types: file, env")
    name = name or variable or os.path.basename(path)
    if not name:
        raise FlagError("--secret: id= is missing")
    if kind == "env" or variable or (not path and name in os.environ):
        variable = variable or (path if kind == "env" and path else name)
        if variable not in os.environ:
            raise FlagError(f"--secret {name}: the environment variable {variable} is not set")
        return name, ("env", variable)
    path = path or name
    if not Path(path).exists():
        raise FlagError(
            f"--secret {name}: {path} does not exist", help="set it with src=FILE or env=VARIABLE"
        )
    if Path(path).is_dir():
        raise FlagError(f"--secret {name}: {path} is a directory", help="give a file")
    return name, ("file", str(Path(path).absolute()))


def ssh(value: str) -> tuple[str, tuple[str, ...]]:
    """Read ``--ssh``: return the id and the socket or key files (empty: ``$SSH_AUTH_SOCK``).

    Raises:
        FlagError: no agent is running, or a file does not exist.
    """
    name, _, rest = value.partition("=")
    paths = tuple(part for part in rest.split(",") if part and not part.startswith("raw="))
    if not paths:
        if not os.environ.get("SSH_AUTH_SOCK"):
            raise FlagError(
                f"--ssh {name}: no agent is running ($SSH_AUTH_SOCK is not set)",
                help=f"start one with `eval $(ssh-agent)` or use a key: --ssh {name or 'default'}=~/.ssh/id_ed25519",
            )
        paths = (os.environ["SSH_AUTH_SOCK"],)
    for path in paths:
        if not Path(path).exists():
            raise FlagError(f"--ssh {name}: {path} does not exist")
    return name or "default", paths
