"""Settings of this app: the Django setting ATHANOR_RUNS, see experiments.conf.

Names end in their unit: `_s` seconds, `_bytes` bytes, `_days` days; `_max` and `_batch` are counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from django.conf import settings

from experiments.conf import load
from experiments.variables import Variables
from runs.run_as import Rules

SYSTEM_QUEUE = "system"
"""Queue of the periodic tasks. It takes no runs, and has its own worker, so that long runs do not delay it."""


@dataclass(frozen=True, slots=True)
class RunsSettings:
    # Lease and supervision
    lease_s: float = 10.0
    """Time from a renewal of a lease to its expiry. Then another worker may take over the run."""
    heartbeat_s: float = 2.0
    """Interval between two renewals of the leases of a worker."""
    lease_margin_s: float = 3.0
    """Time before the expiry of a lease at which the children of a worker that cannot renew it are killed."""
    lock_wait_s: float = 2.0
    """Longest wait for a locked row (PostgreSQL) in threads that serve many runs. They try again later."""
    worker_silent_s: float = 60.0
    """Longest time without a sign of life from a worker process. Then the leases of its runs are not renewed."""
    database_writers_max: int = 4
    """Number of supervisors of a worker that may write the ends of their runs at once. The others wait."""
    linger_above_runs: int = 24
    """Number of runs above which a worker reads and sends output less often, and more of it at once."""
    linger_per_run_s: float = 0.002
    """Time that each run above that number adds to the pause between two reads of a run's output."""
    start_timeout_s: float = 60.0
    """Longest time from the fork to the experiment's first step, including its import."""
    ready_children_max: int = 4
    """Number of children that a worker keeps ready for its next runs, at most. 0 forks each child when it is needed."""
    ready_idle_s: float = 60.0
    """Time without a start of a run after which a worker releases its ready children."""
    warm_templates_max: int = 4
    """Number of experiments whose imported modules a worker keeps for warm starts. 0 starts every run cold."""
    warm_idle_s: float = 300.0
    """Time without a run of an experiment after which its imported modules are released."""
    warm_import_min_s: float = 0.3
    """Shortest import for which runs of an experiment that does not declare `warm` start warm."""
    cancel_poll_s: float = 1.0
    """Interval between two reads of the cancel flags in Redis, in case a notice was missed."""
    resource_poll_s: float = 1.0
    """Interval between two measurements of the memory and CPU time of each run's process tree."""
    memory_default_share: float = 0.8
    """Memory limit of a run without its own, as a share of its machine's or container's memory; 0: no limit."""
    end_grace_s: float = 5.0
    """Longest time from a child's report of its end to its exit. Then its process tree is killed."""
    exit_wait_s: float = 300.0
    """Longest time for threads, executors, processes and exit functions after `run` has returned. Then they are ended,
    and a log line names them. After a cancel, `end_grace_s` applies instead.
    """
    drain_s: float = 20.0
    """Time that runs may continue after a request to stop their worker, before they are released."""
    consumer_stalled_after_s: float = 20.0
    """Longest time that a worker with free slots takes no message although messages wait. Then it exits."""
    lost_quick_s: float = 600.0
    """A run whose attempts are lost within this time, twice in a row, pauses and then has a worker to itself."""
    lost_pause_s: float = 5.0
    """First such pause. Each further one is twice as long."""
    lost_pause_max_s: float = 300.0
    """Longest such pause."""
    lost_alone_s: float = 10.0
    """Shortest time that such a run has its worker to itself; otherwise twice the duration of its lost attempt."""
    lost_alone_max_s: float = 600.0
    """Longest time that such a run has its worker to itself."""
    lost_wait_s: float = 900.0
    """Longest time that such a run waits for a worker without runs. Then it shares one."""
    lost_excused_max: int = 10
    """Number of losses of a run that are excused because other runs were lost with it."""
    retry_later_max: int = 1000
    """Number of times that a run may call `ctx.retry_later`. The next call fails the run."""

    # The child's channel
    line_max_bytes: int = 256 * 1024
    """Largest line, and largest metadata of a line. A longer one is truncated, with a visible mark."""
    result_max_bytes: int = 256 * 1024
    """Largest value of `ctx.result`, as JSON. A larger one is refused."""
    value_max_depth: int = 100
    """Deepest nesting of a result, a summary or a checkpoint, at most 190. A deeper one is refused."""
    record_max_bytes: int = 2 * 1024 * 1024
    """Largest record of the child's channel. It must hold a checkpoint, or an end with its traceback."""
    checkpoint_max_bytes: int = 1024 * 1024
    """Largest state that `ctx.checkpoint` accepts, as JSON."""
    artifact_files_max: int = 1000
    """Number of files of a folder that `ctx.artifact` stores one by one. A larger folder is stored as an archive."""
    channel_senders_max: int = 256
    """Number of processes and threads of a run that may send a long record at the same time."""
    read_bytes: int = 1024 * 1024
    """Size of one read from a child's pipe."""
    gather_above_bytes: int = 2 * 1024
    """Size of the records of one read above which the next read waits for `gather_s`, so that it reads more at once."""
    gather_s: float = 0.005
    """Pause between two reads of a run with much output. Its pipe holds what it writes in the meantime."""
    busy_pipe_bytes: int = 256 * 1024
    """Size of the records pipe of a run with much output. The kernel may refuse it, and the usual size stays."""
    progress_every_s: float = 0.5
    """Shortest interval between two writes of a run's progress to the database."""
    redraw_every_s: float = 1.0
    """Shortest interval between two lines made from output that is redrawn, as progress bars are."""
    redraw_rows_max: int = 50
    """Number of rows that cursor movements can redraw, as for nested progress bars."""
    rest_s: float = 0.5
    """Time without a change after which printed text without a newline becomes a line."""

    # The buffer
    window_max_lines: int = 50_000
    """Number of lines and results that a window holds. While it is full, the pipe is not read."""
    window_max_bytes: int = 32 * 1024 * 1024
    """Size of the lines and results that a window holds."""
    push_batch: int = 2_000
    """Number of lines or results in one push to Redis."""
    list_max: int = 200_000
    """Number of lines or results of an attempt in its Redis list. While it is full, the sender waits for the flush."""
    push_retry_s: float = 0.5
    """Pause after a refused or failed push."""

    accept_unsigned: bool = False
    """Store lines in Redis that have no authentication code. Only for upgrades, while workers of a version without
    codes still run.
    """

    # Flush, reconcile
    flush_every_s: float = 0.5
    """Interval of the flush task."""
    flush_batch: int = 5_000
    """Approximate number of lines or results stored in one transaction."""
    flush_lock_s: float = 30.0
    """Lifetime of the lock of a flush whose process died."""
    flush_budget_s: float = 10.0
    """Longest duration of one flush task. The next one continues."""
    reconcile_every_s: float = 2.0
    """Interval of the reconcile task."""
    resend_max: int = 100
    """Number of wake-ups that one reconcile sends to a queue."""

    # Schedules
    schedules_every_s: float = 1.0
    """Interval of the tick of the schedules."""
    schedules_budget_s: float = 20.0
    """Longest duration of one tick. The next one continues."""
    schedules_batch: int = 50
    """Number of schedules handled in one transaction."""
    slots_batch: int = 500
    """Number of slots of one schedule handled in one transaction. A long downtime takes several."""
    slot_late_s: float = 30.0
    """Delay after which a due slot is subject to the catch-up policy of its schedule."""
    slots_waiting_max: int = 1000
    """Number of slots of one schedule that may wait for a running one. Further ones are skipped."""
    backfill_max: int = 1000
    """Number of slots of one backfill."""
    pulse_silent_s: float = 15.0
    """Time without a tick after which pages warn that the beat is silent."""

    # What is kept
    lines_max: int = 1_000_000_000
    """Number of lines stored of one attempt. Further ones are counted but not stored, and a line says so."""
    slots_keep_days: float = 400.0
    """Age after which rows in the history of schedules are removed."""
    task_results_keep_days: float = 30.0
    """Age after which Celery's stored task results are removed."""
    task_results_batch: int = 500
    """Number of task results that one reconcile removes."""
    audit_keep_days: float = 400.0
    """Age after which entries of the audit log are removed."""
    audit_batch: int = 500
    """Number of entries of the audit log that one reconcile removes."""
    audit_failures_max: int = 120
    """Number of failed logins that the audit log stores per minute. Further ones are not recorded."""
    end_lines: int = 50
    """Number of last lines stored in a failure report."""
    page_size: int = 500
    """Number of lines on one page or in one response."""

    # Open pages
    streams_max: int = 2000
    """Number of streams of open pages in one web process. Further ones must retry."""
    streams_by_user_max: int = 50
    """Number of streams of one user in one web process. Further pages poll."""
    stream_check_s: float = 5.0
    """Interval between two checks of the permissions of open streams. Longer with hundreds of users."""
    stream_life_s: float = 600.0
    """Approximate lifetime of a stream. Its page reconnects, and its permission is checked again."""
    stream_poll_s: float = 0.5
    """Interval between two queries of a web process for all runs with open pages."""
    search_s: float = 1.5
    """Longest duration of one search through lines. Then it shows the matches so far."""

    # Sessions
    session_idle_s: float = 24 * 3600.0
    """Time without a request of a person after which a session ends. Automatic updates of open pages do not count."""
    session_life_s: float = 7 * 24 * 3600.0
    """Time after the login at which a session ends."""

    # Unix users of runs
    run_as: Rules = ()
    """Unix accounts of runs, as JSON: rules with `account` and conditions. Empty: the worker's user for all runs."""
    run_as_processes_max: int = 4096
    """Number of processes and threads of an account of `run_as` on a machine. 0: the worker's limit."""
    run_as_open_files_max: int = 0
    """Number of open files of a process of `run_as`. 0: the worker's limit."""
    run_as_private: Literal["no", "if_possible", "required"] = "if_possible"
    """Private /tmp and /proc for the runs of an account of `run_as`. Needs CAP_SYS_ADMIN."""
    run_as_tmp_max_bytes: int = 1024 * 1024 * 1024
    """Size of /tmp and of /var/tmp of an account on a worker, in memory."""

    # Environment of experiments
    variables: Variables = ()
    """Additional environment variables of the worker for experiments: names and prefixes, `AWS_PROFILE,LAB_*`."""

    # Where
    var: Path = Path("var")
    """Folder for run data (artifacts, work folders), logs and sockets. Shared by all workers that share runs."""


@cache
def runs_settings() -> RunsSettings:
    """Return the settings of this process, which are read once."""
    return load(RunsSettings, "ATHANOR_RUNS", getattr(settings, "ATHANOR_RUNS", {}))
