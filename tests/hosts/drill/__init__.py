"""An app that tests put into a project: each task notes in the database what it does."""
