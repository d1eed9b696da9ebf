"""What workers that were not started here are told before their first task."""

from distributed import Worker, WorkerPlugin

from ldas.pipeline.execution.threads import limit_threads


class OneThread(WorkerPlugin):
    """One thread for each library on a worker, before the first task imports them."""

    name = "ldas-one-thread"

    def setup(self, worker: Worker) -> None:
        """See WorkerPlugin."""
        limit_threads()
