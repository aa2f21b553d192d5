# SPDX-License-Identifier: Apache-2.0
"""Images: commit, config, annotations, and where they go."""
