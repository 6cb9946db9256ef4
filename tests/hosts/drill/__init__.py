"""An app that tests put into a project: each task notes what it does in the database, as it does it."""
