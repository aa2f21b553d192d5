# SPDX-License-Identifier: Apache-2.0
"""Languages that lower to LLB, one folder each."""
