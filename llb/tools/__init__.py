# SPDX-License-Identifier: Apache-2.0
"""Reading graphs: comparing, naming, counting."""
