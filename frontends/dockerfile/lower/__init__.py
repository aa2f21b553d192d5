# SPDX-License-Identifier: Apache-2.0
"""Stages to states: `convert` is the entry point, with one module per family of instructions."""
