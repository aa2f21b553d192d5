# SPDX-License-Identifier: Apache-2.0
"""Errors of a program: where they are, what they say, what was meant."""
