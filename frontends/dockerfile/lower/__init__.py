# SPDX-License-Identifier: Apache-2.0
"""Stages to states: one file for each family of instructions."""
