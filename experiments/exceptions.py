"""Every error of this package. The docstring of a class is its message for people, completed by its arguments."""


class ExperimentsError(Exception):
    """Base class of everything that goes wrong around the definition of an experiment."""


class ExperimentFailed(Exception):
    """The experiment says itself that it failed (`ctx.fail(message)`): stored without a traceback."""


class RunCancelled(BaseException):
    """The run was cancelled. Derives from BaseException, so that `except Exception` cannot swallow it.

    Raised in the experiment's main thread: by `ctx.raise_if_cancelled()`, `ctx.track()`, `ctx.sleep()`, and, when
    `interrupt_after_s` has passed since the request, in the middle of whatever the experiment does.
    """
