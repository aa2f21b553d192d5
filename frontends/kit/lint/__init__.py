# SPDX-License-Identifier: Apache-2.0
"""Lint rules for any language: facts that its reading and lowering tell, rules that hear them, and what they find."""
