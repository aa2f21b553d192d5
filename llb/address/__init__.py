# SPDX-License-Identifier: Apache-2.0
"""Addresses: image references, git URLs, URLs as Go reads them."""
