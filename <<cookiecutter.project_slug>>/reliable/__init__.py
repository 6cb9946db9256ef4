"""Reliable Celery for Django: copied whole, replaced whole on update, never edited by the team."""
