"""`./manage.py up`: all of Athanor on one machine, as one group of processes.

The group is a small supervisor: it starts its processes in order, restarts those that die, and stops them in reverse
order, Redis last. It signals main processes only, each of which has its own session. When the group itself is killed,
its processes end too: on Linux the kernel ends them, elsewhere the next `up` does.
"""
