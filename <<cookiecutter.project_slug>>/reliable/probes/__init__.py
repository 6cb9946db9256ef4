"""Probes: tasks that travel the real road, and who did not answer. The README has how it works."""
