"""Live updates of open run pages: one stream of events per page, in front of Django, in the web server's event loop.

A stream holds no thread, no database connection and no Redis connection: `hub` has one Redis subscription for all
streams, and queries the database for all of them at once. A page that falls behind is served from the database.
"""
