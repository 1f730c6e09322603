"""Every number of this app that somebody may want to change, with its unit. Django setting ATHANOR_RUNS, see
experiments.conf.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.conf import settings

from experiments.conf import load

SYSTEM_QUEUE = "system"
"""Queue of the periodic tasks. It has a worker of its own, so that long runs never starve it, and takes no runs."""


@dataclass(frozen=True, slots=True)
class RunsSettings:
    # Lease and supervision
    lease_s: float = 10.0
    """How long an attempt may go unrenewed before others may take the run over."""
    heartbeat_s: float = 2.0
    """How often a worker renews the leases of all its attempts."""
    lease_margin_s: float = 3.0
    """So long before its lease ends, a worker that could not renew has its children killed."""
    lock_wait_s: float = 2.0
    """Longest wait for a locked row of PostgreSQL in threads that serve many runs; then they try again later."""
    worker_silent_s: float = 60.0
    """A worker process that shows no sign of life for so long loses its runs: their leases are not renewed any more."""
    database_writers_max: int = 4
    """Most supervisors of one worker that write the ends of their runs at once; the others wait for their turn."""
    linger_above_runs: int = 24
    """A worker with more runs than this reads and sends their output less often, and more of it at once."""
    linger_per_run_s: float = 0.002
    """What each run beyond these adds to the pause between two reads of the output of one run."""
    start_timeout_s: float = 60.0
    """Longest time from the fork to the experiment's first step (its import included)."""
    cancel_poll_s: float = 1.0
    """How often the cancel flags in Redis are read, besides being published."""
    resource_poll_s: float = 1.0
    """How often memory and CPU of each run's process tree are measured."""
    memory_default_share: float = 0.8
    """Memory limit of a run that has none of its own, as a share of its machine's or container's memory; 0 is none."""
    end_grace_s: float = 5.0
    """How long a child may live on after its last word before its tree is killed."""
    exit_wait_s: float = 300.0
    """How long threads, executors, processes and exit functions may work on after `run` has ended; what still works
    then is ended, and named in a line of the run. After a cancel it is `end_grace_s`.
    """
    drain_s: float = 20.0
    """How long runs may continue after their worker was asked to stop, before they are released."""
    consumer_stalled_after_s: float = 20.0
    """A worker that takes no work for so long, though it could and there is some, ends itself to be started again."""
    lost_quick_s: float = 600.0
    """A run whose attempts are lost within this time, twice in a row, pauses and then has a worker to itself."""
    lost_pause_s: float = 5.0
    """First such pause; each further one is twice as long."""
    lost_pause_max_s: float = 300.0
    """Longest such pause."""
    lost_alone_s: float = 10.0
    """Shortest time that such a run has its worker to itself; else twice as long as its lost attempt lasted."""
    lost_alone_max_s: float = 600.0
    """Longest time that such a run has its worker to itself."""
    lost_wait_s: float = 900.0
    """How long such a run waits for a worker without runs, before it shares one."""
    lost_excused_max: int = 10
    """Most losses of a run that are not counted since other runs were lost with it."""
    retry_later_max: int = 1000
    """Number of times that a run may call `ctx.retry_later`; once more, and it fails."""

    # The child's channel
    line_max_bytes: int = 256 * 1024
    """A longer line, or longer metadata of a line, is cut with a visible mark."""
    result_max_bytes: int = 256 * 1024
    """Largest value of `ctx.result`, as JSON; a larger one is refused."""
    value_max_depth: int = 100
    """Levels of nesting of a result, a returned value or a checkpoint, 190 at most; deeper ones are refused."""
    record_max_bytes: int = 2 * 1024 * 1024
    """Largest record of the child's channel; holds a checkpoint and an end with its traceback."""
    checkpoint_max_bytes: int = 1024 * 1024
    """Largest state that `ctx.checkpoint` takes, as JSON."""
    artifact_files_max: int = 1000
    """Most files of one folder that `ctx.artifact` keeps; a larger folder is kept as an archive."""
    channel_senders_max: int = 256
    """How many processes and threads of one run may have a long record under way at once."""
    read_bytes: int = 1024 * 1024
    """Read from a child's pipe at once."""
    progress_every_s: float = 0.5
    """Progress is written to the database at most so often per run."""
    redraw_every_s: float = 1.0
    """A state of lines that are redrawn (progress bars) becomes a line at most so often."""
    redraw_rows_max: int = 50
    """Rows that cursor movements can redraw (nested progress bars)."""
    rest_s: float = 0.5
    """Printed text without a newline becomes a line when it has not changed for so long."""

    # The buffer
    window_max_lines: int = 50_000
    """Lines and results kept by a supervisor until they are stored; a full window stops the reading of the pipe."""
    window_max_bytes: int = 32 * 1024 * 1024
    """The same limit in bytes."""
    push_batch: int = 500
    """Values of one RPUSH."""
    list_max: int = 200_000
    """Longest Redis list of one run; a supervisor waits for the flush when it is reached."""
    push_retry_s: float = 0.5
    """Wait after a refused or failed push."""

    # Flush, reconcile
    flush_every_s: float = 0.5
    """Period of the flush task."""
    flush_batch: int = 5_000
    """Entries stored in one transaction."""
    flush_lock_s: float = 30.0
    """How long the lock of one flush lasts if its holder dies."""
    flush_budget_s: float = 10.0
    """Longest time that one flush task works before it leaves the rest to the next."""
    reconcile_every_s: float = 2.0
    """Period of the reconcile task."""
    resend_max: int = 100
    """Most wake-up messages sent again by one reconcile, per queue."""

    # Schedules
    schedules_every_s: float = 1.0
    """Period of the task that fires schedules."""
    schedules_budget_s: float = 20.0
    """Longest time that one such task works before it leaves the rest to the next."""
    schedules_batch: int = 50
    """Schedules handled in one transaction."""
    slots_batch: int = 500
    """Slots of one schedule handled in one transaction; after a long downtime it takes several."""
    slot_late_s: float = 30.0
    """A slot seen later than this after it was due is a matter of the schedule's catch-up policy."""
    slots_waiting_max: int = 1000
    """Most slots of one schedule that wait for a running one; more are skipped."""
    backfill_max: int = 1000
    """Most slots of one backfill."""
    pulse_silent_s: float = 15.0
    """Schedules that were not looked at for so long: pages warn that the beat is silent."""

    # What is kept
    lines_max: int = 1_000_000_000
    """Lines stored of one attempt; what comes after is counted, not stored, and a line says so."""
    slots_keep_days: float = 400.0
    """Rows in the history of schedules that are older than this are removed."""
    task_results_keep_days: float = 30.0
    """Celery's stored results of supervising tasks older than this are removed."""
    task_results_batch: int = 500
    """Most of them removed by one reconcile."""
    end_lines: int = 50
    """Last lines kept with an attempt that did not end well."""
    page_size: int = 500
    """Lines on one page or in one answer."""

    # Open pages
    streams_max: int = 2000
    """Streams of open pages in one web process; more are asked to come again."""
    stream_life_s: float = 600.0
    """About so long one stream lasts; its page comes back by itself, and is asked again whether it may."""
    stream_poll_s: float = 0.5
    """How often a web process looks at the runs whose pages are open, all of them at once."""
    search_s: float = 1.5
    """Longest time that one search through lines takes before it shows what it has found."""

    # Where
    var: Path = Path("var")
    """Folder of run data (artifacts, work folders), logs, sockets; shared by all workers that share runs."""


@cache
def runs_settings() -> RunsSettings:
    """The settings of this process, read once."""
    return load(RunsSettings, "ATHANOR_RUNS", getattr(settings, "ATHANOR_RUNS", {}))
