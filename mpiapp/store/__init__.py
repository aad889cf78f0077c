"""Step 4: journals that survive a kill, and the campaign file."""
