# SPDX-License-Identifier: Apache-2.0
"""Exporters: results to directories, archives and images."""
