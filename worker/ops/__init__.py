# SPDX-License-Identifier: Apache-2.0
"""One operation per op of the IR."""
