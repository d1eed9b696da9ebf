"""The verbs that a user knows: run, check, status, demo, twin."""
