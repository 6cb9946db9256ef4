"""What loses tasks, found before it does: `manage.py check --tag reliable`.

Each finding says what was measured, how to cure it, and where to read more. One that is meant is
silenced with a reason, for all places or for one:

    RELIABLE_SILENCED = {"reliable.E012": "may be lost", "reliable.W102:sale.tasks.x": "..."}

or, in source, by a comment on its line: `# silence reliable.E010: the row was committed before`.
"""
