# SPDX-License-Identifier: Apache-2.0
"""Sources: images, git repositories, HTTP files and local directories."""
