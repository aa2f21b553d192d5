# SPDX-License-Identifier: Apache-2.0
"""The rules, one file each: what it finds, why it matters, what to write instead, and programs with and without findings."""
