# SPDX-License-Identifier: Apache-2.0
"""Containers through an OCI runtime."""
