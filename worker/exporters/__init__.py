# SPDX-License-Identifier: Apache-2.0
"""Results as directories, archives, images."""
