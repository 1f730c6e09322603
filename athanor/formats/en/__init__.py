"""How the admin writes moments: as the pages of runs, the commands and the logs do."""
