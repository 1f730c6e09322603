"""Everything of Athanor on one machine as one group of processes: what `./manage.py up` runs.

The group is a small supervisor: it starts its processes in order, restarts what dies, and stops them in the opposite
order, Redis last. It signals main processes only, each of which has a session of its own. Killed itself, it takes
its processes along (Linux: by the kernel; elsewhere the next `up` ends them).
"""
