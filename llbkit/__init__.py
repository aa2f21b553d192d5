# SPDX-License-Identifier: Apache-2.0
"""The product: engine, configuration, command line."""
