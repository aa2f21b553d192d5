# SPDX-License-Identifier: Apache-2.0
"""The engine: what a build needs, put together."""
