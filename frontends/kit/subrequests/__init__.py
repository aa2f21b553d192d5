# SPDX-License-Identifier: Apache-2.0
"""What a frontend answers instead of building, and what the answers are made of."""
