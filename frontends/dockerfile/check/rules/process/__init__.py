# SPDX-License-Identifier: Apache-2.0
"""What runs in a container, where, and what it listens on."""
