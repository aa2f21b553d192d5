# SPDX-License-Identifier: Apache-2.0
"""States: the chainable builder."""
