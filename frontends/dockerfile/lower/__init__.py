# SPDX-License-Identifier: Apache-2.0
"""Stages to states: `convert` tells the story, one file for each family of instructions does the work."""
