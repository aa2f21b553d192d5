# SPDX-License-Identifier: Apache-2.0
"""Black-box suites and their runner."""
