"""Forcing: read from site files, made from formulas, checked."""
