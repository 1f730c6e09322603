"""A Django app for processes that tests start (ATHANOR_APPS=tests.meddling): it breaks them from within, where no
signal and no server can.
"""
