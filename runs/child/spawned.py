"""What multiprocessing imports as `__main__` in a process that an experiment spawns (not forks).

Such a process begins as an empty interpreter: it must be able to import the experiment's module, wherever that lies.
"""

import django

from experiments.discovery import candidates

django.setup()
candidates()  # makes the modules of ATHANOR_EXPERIMENT_PATHS importable; imports none
