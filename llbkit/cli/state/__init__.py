# SPDX-License-Identifier: Apache-2.0
"""Commands for the engine's state, settings and host."""
