# SPDX-License-Identifier: Apache-2.0
"""What a build is asked to do, as values."""
