# SPDX-License-Identifier: Apache-2.0
"""The IR: ops, graph, builder, wire format."""
