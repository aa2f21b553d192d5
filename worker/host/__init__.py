# SPDX-License-Identifier: Apache-2.0
"""The host's means: thread pools, system calls, agents."""
