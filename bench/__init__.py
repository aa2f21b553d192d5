# SPDX-License-Identifier: Apache-2.0
"""Benchmarks against real peers, measured in one run: ``python -m bench`` prints seconds and ratios."""
