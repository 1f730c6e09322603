"""Other job systems, each in an environment of its own, and the floor: a plain fork.

A module with a trailing underscore is one queue; it is imported only in the environment that has its packages. Its
`Queue` is that of `benchmarks.contest`, and `workers(number)` returns the command lines of its workers: `number` for
jobs as they come, and one with a single slot.
"""
