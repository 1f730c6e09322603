"""Experiments that do what their configuration says. The folder is put into ATHANOR_EXPERIMENT_PATHS by tests."""
