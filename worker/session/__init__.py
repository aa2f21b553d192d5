# SPDX-License-Identifier: Apache-2.0
"""What a build brings along: the contract in `base`, and what reads it in place in `local`."""
