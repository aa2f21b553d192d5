# SPDX-License-Identifier: Apache-2.0
"""Pictures of graphs: DOT, Mermaid, SVG. Only DOT needs another program, Graphviz."""
