"""Parts of a run worker that exist once per process: runtime, heartbeat, listener, poller, watchdog, boot steps."""
