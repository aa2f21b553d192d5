# SPDX-License-Identifier: Apache-2.0
"""Names, bases and platforms of stages."""
