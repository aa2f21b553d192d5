# SPDX-License-Identifier: Apache-2.0
"""The generic tree to typed instructions, and the expansion of words."""
