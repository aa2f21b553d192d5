# SPDX-License-Identifier: Apache-2.0
"""Graph passes, one file each."""
