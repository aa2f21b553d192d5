# SPDX-License-Identifier: Apache-2.0
"""Running vertices: jobs, single flights, resources."""
