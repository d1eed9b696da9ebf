"""Observation operators: from what the land model knows to what a satellite sees, one function per grid cell."""
