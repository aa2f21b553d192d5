# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile language."""
