# SPDX-License-Identifier: Apache-2.0
"""Keys, cache, schedule: what has to be executed, and when."""
