# SPDX-License-Identifier: Apache-2.0
"""Ops, graphs, platforms, and what holds for every graph."""
