# SPDX-License-Identifier: Apache-2.0
"""Tar archives and their compression, read and written as streams."""
