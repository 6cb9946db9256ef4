#!/bin/sh
# {{ ansible_managed }}
# supervisord rotates the files of running programs by size; those of ended generations stay.
exec find {{ project_logs }} -type f -mtime +{{ base_log_days }} -delete
