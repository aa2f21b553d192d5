# SPDX-License-Identifier: Apache-2.0
"""Images, repositories, files and directories from outside."""
