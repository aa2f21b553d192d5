# SPDX-License-Identifier: Apache-2.0
"""What a vertex does: snapshots, content, containers, sources, exporters."""
