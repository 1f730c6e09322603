"""Logins: form, throttle, log of failures, single sign-on, two-factor authentication."""
