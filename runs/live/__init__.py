"""Open run pages, kept true: one stream of events per page, in front of Django, in the web server's event loop.

A stream holds no thread, no database connection and no Redis connection: `hub` has one subscription for all of them and
looks at the database for all of them at once; a page that cannot keep up is served from the database when it can.
"""
