# SPDX-License-Identifier: Apache-2.0
"""Pictures of graphs: DOT, Mermaid, SVG. None of them needs another program but DOT, which is for Graphviz."""
