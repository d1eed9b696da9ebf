"""The stages of an experiment: what one task of each computes."""
