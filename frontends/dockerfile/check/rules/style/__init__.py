# SPDX-License-Identifier: Apache-2.0
"""How instructions are written."""
