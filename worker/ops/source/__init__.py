# SPDX-License-Identifier: Apache-2.0
"""Steps that bring something in."""
