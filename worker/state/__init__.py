# SPDX-License-Identifier: Apache-2.0
"""The state directory: layout, locks, leases, metadata, caches, garbage collection."""
