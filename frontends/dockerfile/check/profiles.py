# SPDX-License-Identifier: Apache-2.0
"""Profiles: which rules look at a Dockerfile, and in which order they do where several look at the same fact."""

from __future__ import annotations

from llbkit.frontends.dockerfile.check.rules.process.expose_invalid_format import ExposeInvalidFormat
from llbkit.frontends.dockerfile.check.rules.process.expose_proto_casing import ExposeProtoCasing
from llbkit.frontends.dockerfile.check.rules.process.json_args_recommended import JSONArgsRecommended
from llbkit.frontends.dockerfile.check.rules.process.multiple_instructions_disallowed import (
    MultipleInstructionsDisallowed,
)
from llbkit.frontends.dockerfile.check.rules.process.workdir_relative_path import WorkdirRelativePath
from llbkit.frontends.dockerfile.check.rules.stages.duplicate_stage_name import DuplicateStageName
from llbkit.frontends.dockerfile.check.rules.stages.from_as_casing import FromAsCasing
from llbkit.frontends.dockerfile.check.rules.stages.from_platform_flag_const_disallowed import (
    FromPlatformFlagConstDisallowed,
)
from llbkit.frontends.dockerfile.check.rules.stages.invalid_base_image_platform import (
    InvalidBaseImagePlatform,
)
from llbkit.frontends.dockerfile.check.rules.stages.invalid_default_arg_in_from import InvalidDefaultArgInFrom
from llbkit.frontends.dockerfile.check.rules.stages.redundant_target_platform import RedundantTargetPlatform
from llbkit.frontends.dockerfile.check.rules.stages.reserved_stage_name import ReservedStageName
from llbkit.frontends.dockerfile.check.rules.stages.stage_name_casing import StageNameCasing
from llbkit.frontends.dockerfile.check.rules.stages.undefined_arg_in_from import UndefinedArgInFrom
from llbkit.frontends.dockerfile.check.rules.style.consistent_instruction_casing import (
    ConsistentInstructionCasing,
)
from llbkit.frontends.dockerfile.check.rules.style.invalid_definition_description import (
    InvalidDefinitionDescription,
)
from llbkit.frontends.dockerfile.check.rules.style.legacy_key_value_format import LegacyKeyValueFormat
from llbkit.frontends.dockerfile.check.rules.style.maintainer_deprecated import MaintainerDeprecated
from llbkit.frontends.dockerfile.check.rules.style.no_empty_continuation import NoEmptyContinuation
from llbkit.frontends.dockerfile.check.rules.values.copy_ignored_file import CopyIgnoredFile
from llbkit.frontends.dockerfile.check.rules.values.secrets_used_in_arg_or_env import SecretsUsedInArgOrEnv
from llbkit.frontends.dockerfile.check.rules.values.undefined_var import UndefinedVar

BUILDKIT = (
    # while the file is read
    NoEmptyContinuation,
    StageNameCasing,
    FromAsCasing,
    MaintainerDeprecated,
    InvalidDefinitionDescription,
    # when it was read
    ReservedStageName,
    DuplicateStageName,
    ConsistentInstructionCasing,
    InvalidDefaultArgInFrom,
    # when bases are looked at
    UndefinedArgInFrom,
    RedundantTargetPlatform,
    FromPlatformFlagConstDisallowed,
    InvalidBaseImagePlatform,
    # while stages are lowered
    UndefinedVar,
    LegacyKeyValueFormat,
    SecretsUsedInArgOrEnv,
    WorkdirRelativePath,
    CopyIgnoredFile,
    MultipleInstructionsDisallowed,
    JSONArgsRecommended,
    ExposeProtoCasing,
    ExposeInvalidFormat,
)
"""BuildKit's build checks, in its order."""
