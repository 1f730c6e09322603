"""`__main__` of processes that multiprocessing spawns, rather than forks, for an experiment.

Such a process starts as an empty interpreter, and must be able to import the experiment's module from any folder.
"""

import os

import django

from experiments.discovery import candidates
from runs.forkserver.environment import settings_module

with settings_module(os.environ):
    django.setup()
candidates()  # makes the modules of ATHANOR_EXPERIMENT_PATHS importable; imports none
