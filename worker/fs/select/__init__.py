# SPDX-License-Identifier: Apache-2.0
"""Which files are meant: patterns, wildcards, links that are followed, selections."""
