"""Operators trained and filters tried on tables of collocated states and observations, without a store."""
