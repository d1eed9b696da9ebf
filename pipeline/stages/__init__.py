"""The stages of an experiment; `stages.build.build_stages` gives them in the order in which they run."""
