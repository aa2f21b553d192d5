# SPDX-License-Identifier: Apache-2.0
"""BuildKit's wire format."""
