"""Date and time formats of the admin, the same as on the pages of runs, in commands and in logs."""
