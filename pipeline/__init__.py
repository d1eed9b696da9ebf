"""The pipeline: everything of the land data assimilation system that meets the world."""
