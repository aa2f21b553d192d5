# SPDX-License-Identifier: Apache-2.0
"""Values of image configs and steps, as any language writes them."""
