# SPDX-License-Identifier: Apache-2.0
"""Registries: HTTP, authentication, pulling and pushing blobs and manifests."""
