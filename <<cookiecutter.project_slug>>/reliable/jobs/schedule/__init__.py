"""The schedule of `reliable.schedule`, ticked by any number of beats, each tick once."""
