"""Evaluation: scores of runs against observations, stations and truth, streamed over blocks of cells."""
