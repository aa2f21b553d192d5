# SPDX-License-Identifier: Apache-2.0
"""Patterns of ignore files, as Go matches them."""
