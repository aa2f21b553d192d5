# SPDX-License-Identifier: Apache-2.0
"""The language kit: what every language needs beside its grammar and its lowering."""
