# SPDX-License-Identifier: Apache-2.0
"""Files: trees, copying, descent, modes, owners, paths inside a root."""
