# SPDX-License-Identifier: Apache-2.0
"""Layers and snapshots on disk."""
