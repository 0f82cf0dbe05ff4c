"""Renderings for people: drawings on a terminal, or text in a pipe. The only package with rich."""
