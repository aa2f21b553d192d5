# SPDX-License-Identifier: Apache-2.0
"""Variables, secrets and files."""
