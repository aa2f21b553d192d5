# SPDX-License-Identifier: Apache-2.0
"""Runs vectors of the ``llb`` format: small programs against the builder."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from llbkit import llb
from llbkit.conformance.opjson import ops_of, source_of
from llbkit.conformance.report import Failure, difference, run_each
from llbkit.conformance.world import NotRecordedError, recorded_image
from llbkit.grammar import Source
from llbkit.llb.builder.files import ActionSpec, Chain, copy, mkdir, mkfile, rm, symlink
from llbkit.llb.builder.mounts import AnyMount, MountSpec, SecretSpec, SSHSpec
from llbkit.llb.builder.options import At, SourceText
from llbkit.llb.builder.sources import HTTPHeader, HTTPSignature, ImageConfig
from llbkit.llb.builder.state import ExecState, State
from llbkit.llb.errors import LLBError
from llbkit.llb.ir.graph import LinuxResources, ProgressGroup
from llbkit.llb.ir.ops import (
    CacheOpt,
    CacheSharing,
    CDIDevice,
    ContentCache,
    NetMode,
    Platform,
    ProxyEnv,
    SecurityMode,
    TmpfsOpt,
    Ulimit,
)
from llbkit.llb.wire import decode, encode

Json = Mapping[str, Any]
_NETWORKS = {"sandbox": NetMode.UNSET, "host": NetMode.HOST, "none": NetMode.NONE}
_SECURITY = {"sandbox": SecurityMode.SANDBOX, "insecure": SecurityMode.INSECURE}
_DEFAULT_PLATFORM = "linux/amd64"


def run(cases: Sequence[Json], images: Json) -> list[Failure]:
    """Run every case and return those that differ."""
    return run_each(cases, lambda case: run_case(case, images))


def run_case(case: Json, images: Json) -> str:
    """Run one case and return how it differs; "" if it does not."""
    expected: dict[str, Any]
    if "error" in case:
        expected = {"error": case["error"]["text"]}
    else:
        ops = [{"digest": o["digest"], "op": o["op"], "meta": o.get("meta", {})} for o in case["ops"]]
        expected = {
            "head": case["head"],
            "ops": ops,
            "source": case.get("source"),
            "definition": case["definition"],
        }
    try:
        graph = _Program(case["program"], images).graph()
        actual: dict[str, Any] = {
            "head": graph.head.vertex.digest if graph.head else "",
            "ops": ops_of(graph),
            "source": source_of(graph),
            "definition": base64.b64encode(encode(graph)).decode(),
        }
    except LLBError as error:
        actual = {"error": str(error)}
    return difference(expected, actual)


class _Program:
    def __init__(self, program: Json, images: Json) -> None:
        self._program = program
        self._images = images
        self._steps: dict[str, Json] = {}
        self._states: dict[str, State] = {}
        self._texts: dict[str, SourceText] = {}

    def graph(self) -> llb.Graph:
        for name, item in self._program.get("source_maps", {}).items():
            state = llb.local(item["state"], session_id="sm-session") if "state" in item else None
            source = Source(item.get("filename", ""), item.get("data", ""), item.get("language", ""))
            self._texts[name] = SourceText(source, state)
        self._steps = {step["id"]: step for step in self._program["steps"]}
        return self._state(self._program["result"]).graph(**_marshal(self._program.get("marshal", {})))

    def _state(self, name: str) -> State:
        """Return the state that a step makes, made when it is first asked for."""
        if name not in self._states:
            step = self._steps[name]
            made = getattr(self, "_op_" + step["op"])(step)
            assert isinstance(made, State), "every step makes a state"
            self._states[name] = made
        return self._states[name]

    def _options(self, step: Json) -> dict[str, Any]:
        given = step.get("constraints", {})
        out: dict[str, Any] = {}
        for key in ("platform", "description", "ignore_cache", "export_cache", "require", "local_unique_id"):
            if key in given:
                out[key] = given[key]
        if "custom_name" in given:
            out["name"] = given["custom_name"]
        if "progress_group" in given:
            out["progress_group"] = ProgressGroup(**given["progress_group"])
        if "linux_resources" in given:
            out["resources"] = LinuxResources(**given["linux_resources"])
        if "locations" in given:
            out["at"] = [
                At(self._texts[item["map"]], tuple((a, b) for a, b in item["lines"]))
                for item in given["locations"]
            ]
        return out

    # -- sources

    def _op_image(self, step: Json) -> State:
        return llb.image(
            step["ref"],
            resolve_mode=step.get("resolve_mode", "default"),
            layer_limit=step.get("layer_limit"),
            checksum=step.get("checksum", ""),
            record_type="internal" if step.get("internal") else "",
            resolver=self._resolve if step.get("meta_resolver") else None,
            resolve_digest=step.get("resolve_digest", False),
            **self._options(step),
        )

    def _resolve(self, ref: str, platform: Platform) -> ImageConfig:
        try:
            found = recorded_image(self._images, ref, platform)
        except NotRecordedError as error:
            raise LLBError(str(error)) from None
        return ImageConfig(config=found.config, digest=found.digest, ref=found.ref)

    def _op_scratch(self, step: Json) -> State:
        return llb.scratch()

    def _op_local(self, step: Json) -> State:
        differ = step.get("differ", {})
        only = step.get("metadata_only")
        return llb.local(
            step["name"],
            session_id=step.get("session_id", ""),
            include_patterns=step.get("include_patterns", ()),
            exclude_patterns=step.get("exclude_patterns", ()),
            follow_paths=step.get("follow_paths", ()),
            shared_key_hint=step.get("shared_key_hint", ""),
            differ=differ.get("type", ""),
            differ_required=differ.get("required", False),
            metadata_only=only is not None,
            metadata_exceptions=(only or {}).get("exceptions", ()),
            **self._options(step),
        )

    def _op_git(self, step: Json) -> State:
        bundle = step.get("bundle", {})
        names = (
            "subdir",
            "keep_git_dir",
            "auth_header_secret",
            "auth_token_secret",
            "known_ssh_hosts",
            "mount_ssh_sock",
        )
        more = ("checksum", "skip_submodules", "mtime", "fetch_by_commit", "checkout_bundle")
        given = {key: step[key] for key in (*names, *more) if key in step}
        return llb.git(
            step["url"],
            step.get("fragment", ""),
            ref=step.get("git_ref", ""),
            bundle=bundle.get("url", ""),
            bundle_oci_session=bundle.get("oci_session", ""),
            bundle_oci_store=bundle.get("oci_store", ""),
            **given,
            **self._options(step),
        )

    def _op_http(self, step: Json) -> State:
        return llb.http(
            step["url"],
            filename=step.get("filename", ""),
            checksum=step.get("checksum", ""),
            chmod=step.get("chmod"),
            chown=tuple(step["chown"]) if "chown" in step else None,
            auth_header_secret=step.get("auth_header_secret", ""),
            header=HTTPHeader(**step["header"]) if "header" in step else None,
            signature=HTTPSignature(**step["signature"]) if "signature" in step else None,
            **self._options(step),
        )

    def _op_oci_layout(self, step: Json) -> State:
        # A checksum may be given; BuildKit's client does not send it, as the reference has the digest.
        given = {key: step[key] for key in ("session_id", "store_id", "layer_limit") if key in step}
        return llb.oci_layout(step["ref"], **given, **self._options(step))

    def _op_image_blob(self, step: Json) -> State:
        return llb.image_blob(step["ref"], **_file_options(step), **self._options(step))

    def _op_oci_layout_blob(self, step: Json) -> State:
        given = {key: step[key] for key in ("session_id", "store_id") if key in step}
        return llb.oci_layout_blob(step["ref"], **given, **_file_options(step), **self._options(step))

    # -- steps

    def _op_set(self, step: Json) -> State:
        state = self._state(step["input"])
        for change in step["changes"]:
            state = _changed(state, change)
        return state

    def _op_run(self, step: Json) -> State:
        base = self._state(step["input"])
        state = base
        for change in step.get("changes", ()):
            state = _changed(state, change)
        mounts = [self._mount(item) for item in step.get("mounts", ())]
        mounts += [_secret(item) for item in step.get("secrets", ())]
        mounts += [SSHSpec(**item) for item in step.get("ssh", ())]
        proxy = {
            f"{key}_proxy" if key in ("http", "https", "ftp", "no", "all") else key: value
            for key, value in step.get("proxy", {}).items()
        }
        made = state.run(
            step["shlex"] if "shlex" in step else step.get("args", ()),
            mounts=mounts,
            readonly_root=step.get("readonly_rootfs", False),
            proxy=ProxyEnv(**proxy) if "proxy" in step else None,
            valid_exit_codes=step.get("valid_exit_codes", ()),
            devices=[CDIDevice(**item) for item in step.get("devices", ())],
            **self._options(step),
        )
        assert made.node is not None, "a run has a node"
        # Changes of a run hold for its process only.
        made = ExecState.of(base, made.node) if state is not base else made
        # The recorder's runs are modified in place: every user sees all mounts, including those added later.
        for other in self._program["steps"]:
            if other["op"] == "add_mount" and other["exec"] == step["id"]:
                mount = self._mount(other["mount"])
                assert isinstance(mount, MountSpec), "only filesystems are added"
                made = made.add_mount(mount)
        return made

    def _mount(self, item: Json) -> AnyMount:
        source = self._state(item["source"]) if "source" in item else None
        cache = item.get("cache")
        tmpfs = item.get("tmpfs")
        return MountSpec(
            target=item["target"],
            source=source if source is not None and source.output is not None else None,
            readonly=item.get("readonly", False),
            selector=item.get("selector", ""),
            no_output=item.get("no_output", False),
            cache=CacheOpt(id=cache["id"], sharing=CacheSharing[cache["sharing"].upper()]) if cache else None,
            tmpfs=TmpfsOpt(size=tmpfs.get("size", 0)) if tmpfs is not None else None,
            content_cache=ContentCache[item.get("content_cache", "default").upper()],
        )

    def _op_mount_output(self, step: Json) -> State:
        made = self._state(step["exec"])
        assert isinstance(made, ExecState), "a mount belongs to a run"
        return made.at(step["target"])

    def _op_add_mount(self, step: Json) -> State:
        made = self._state(step["exec"])
        assert isinstance(made, ExecState), "a mount belongs to a run"
        source = self._state(step["mount"]["source"]) if "source" in step["mount"] else llb.scratch()
        return source.with_output(made.at(step["mount"]["target"]).output)

    def _op_file(self, step: Json) -> State:
        state = self._state(step["input"])
        return state.file(*(self._action(item) for item in step["actions"]), **self._options(step))

    def _action(self, item: Json) -> ActionSpec:
        ((kind, fields),) = item.items()
        owner = _owner(fields.get("owner"))
        created = fields["created_unix"] * 10**9 if "created_unix" in fields else -1
        match kind:
            case "mkdir":
                parents = fields.get("parents", False)
                return mkdir(fields["path"], fields["mode"], parents=parents, owner=owner, created=created)
            case "mkfile":
                data = (
                    base64.b64decode(fields["data_b64"]) if "data_b64" in fields else fields.get("text", "")
                )
                return mkfile(fields["path"], data, fields["mode"], owner=owner, created=created)
            case "rm":
                return rm(
                    fields["path"],
                    allow_not_found=fields.get("allow_not_found", False),
                    allow_wildcard=fields.get("allow_wildcard", False),
                )
            case "symlink":
                return symlink(fields["oldpath"], fields["newpath"], owner=owner, created=created)
            case _:
                return self._copy(fields, owner, created)

    def _copy(self, fields: Json, owner: Any, created: int) -> ActionSpec:
        if "from_actions" in fields:
            inner = fields["from_actions"]
            actions = tuple(self._action(item) for item in inner["actions"])
            source: State | Chain = Chain(self._state(inner["state"]), actions)
        else:
            source = self._state(fields["from"])
        return copy(
            source,
            fields["src"],
            fields["dest"],
            mode=fields.get("mode_str", fields.get("mode")),
            owner=owner,
            created=created,
            follow_symlinks=fields.get("follow_symlinks", False),
            dir_contents=fields.get("copy_dir_contents_only", False),
            unpack=fields.get("attempt_unpack", False),
            create_dest_path=fields.get("create_dest_path", False),
            wildcard=fields.get("allow_wildcard", False),
            empty_wildcard=fields.get("allow_empty_wildcard", False),
            include=fields.get("include_patterns", ()),
            exclude=fields.get("exclude_patterns", ()),
            required=fields.get("required_paths", ()),
            replace_existing=fields.get(
                "always_replace_existing_dest_paths", fields.get("always_replace_existing", False)
            ),
        )

    def _op_merge(self, step: Json) -> State:
        return llb.merge([self._state(name) for name in step["inputs"]], **self._options(step))

    def _op_diff(self, step: Json) -> State:
        return llb.diff(self._state(step["lower"]), self._state(step["upper"]), **self._options(step))

    def _op_build(self, step: Json) -> State:
        return llb.build(self._state(step["input"]), filename=step.get("filename", ""), **self._options(step))

    def _op_requires(self, step: Json) -> State:
        deps = [self._state(name) for name in step["deps"]]
        return llb.requires(self._state(step["input"]), step["dep_id"], deps, **self._options(step))

    def _op_passthrough(self, step: Json) -> State:
        inputs = [self._state(name) for name in step["inputs"]]
        return llb.passthrough(step["dep_id"], inputs, step["outputs"], **self._options(step))[0]

    def _op_reset(self, step: Json) -> State:
        return self._state(step["input"]).reset(self._state(step["other"]))

    def _op_with_image_config(self, step: Json) -> State:
        return self._state(step["input"]).with_image_config(step["config"])

    def _op_definition(self, step: Json) -> State:
        graph = self._state(step["input"]).graph(**_marshal(step.get("marshal", {})))
        return llb.from_graph(decode(encode(graph)))


def _marshal(given: Json) -> dict[str, Any]:
    out: dict[str, Any] = {"platform": given.get("platform", _DEFAULT_PLATFORM)}
    for key in ("local_unique_id", "require", "description", "ignore_cache"):
        if key in given:
            out[key] = given[key]
    if given.get("caps") == "all":
        out["caps"] = frozenset({"exec.meta.setsdefaultpath"}) - set(given.get("disabled_caps", ()))
    elif given.get("caps") == "none":
        out["caps"] = frozenset()
    return out


def _changed(state: State, change: Json) -> State:
    ((kind, value),) = change.items()
    match kind:
        case "env":
            return state.env(value[0], value[1])
        case "network":
            return state.network(_NETWORKS[value])
        case "security":
            return state.security(_SECURITY[value])
        case "extra_host":
            return state.add_extra_host(value[0], value[1])
        case "ulimit":
            limit = Ulimit(**value)
            return state.add_ulimit(limit.name, limit.soft, limit.hard)
        case _:
            made = getattr(state, kind)(value)
            assert isinstance(made, State), "settings return states"
            return made


def _file_options(step: Json) -> dict[str, Any]:
    out = {key: step[key] for key in ("filename", "chmod") if key in step}
    if "chown" in step:
        out["chown"] = tuple(step["chown"])
    return out


def _owner(given: Json | None) -> Any:
    if given is None:
        return None
    return given["user"] if "user" in given else (given.get("uid", 0), given.get("gid", 0))


def _secret(item: Json) -> SecretSpec:
    target = item.get("target", "")
    fields = {key: item[key] for key in ("uid", "gid", "mode", "optional") if key in item}
    env = item.get("env")
    if item.get("as_env"):
        env = target if env is None else env
        return SecretSpec(id=item.get("id", target), env=env, **fields)
    return SecretSpec(id=item.get("id", target), target=target, env=env, **fields)
