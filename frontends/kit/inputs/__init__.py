# SPDX-License-Identifier: Apache-2.0
"""The inputs of a build: contexts, ignore files, archives."""
