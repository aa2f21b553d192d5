# SPDX-License-Identifier: Apache-2.0
"""Content-addressed blobs and the registry protocol."""
