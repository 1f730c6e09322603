"""Logins of people: the form, the throttle, the log of failures."""
