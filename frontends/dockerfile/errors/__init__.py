# SPDX-License-Identifier: Apache-2.0
"""Errors, their spans and suggestions."""
