"""One turn of the queue: follow what runs, start what may start. Any watcher may take it."""

from __future__ import annotations

from bot.actions.executing import Attempt, Executor, NotStarted
from bot.clock import Clock
from bot.errors import BotError
from bot.progress import Narrator
from bot.settings.policies import Policy
from bot.store.queue import Queue
from bot.store.queue_tables import QueuedRelease

AT_ONCE = 20  # tasks started in one turn
DAY = 86_400.0


def queue_turn(
    queue: Queue, executor: Executor, policy: Policy, clock: Clock, narrator: Narrator
) -> None:
    """Follow the running tasks, then start queued ones within the limits of the policy.

    One task's trouble is said and never stops the others.
    """
    for task in queue.running():
        try:
            run = executor.find(task)
        except (BotError, OSError) as error:
            narrator.say(f"{task.repo}: {error}")
            continue
        run = run or Attempt(good=False, error="its run has vanished")
        if run.good is not None:
            _settle(queue, task, run, policy, clock)
    for _ in range(AT_ONCE):
        claimed = queue.claim(
            clock.now(),
            at_once=policy.at_once,
            per_hour=policy.per_hour,
            hours_per_tb=policy.hours_per_tb,
            small_gb=policy.small_gb,
        )
        if claimed is None:
            return
        _start(queue, executor, claimed, policy, clock, narrator)


def _start(
    queue: Queue,
    executor: Executor,
    task: QueuedRelease,
    policy: Policy,
    clock: Clock,
    narrator: Narrator,
) -> None:
    try:
        run = executor.find(task)
        link = run.link if run is not None else executor.start(task)
    except (OSError, NotStarted) as error:
        final = isinstance(error, NotStarted)
        queue.failed(task, str(error), None, clock.now(), attempts=policy.attempts, final=final)
        return
    except BotError as error:
        # whether it started is asked again when the lease ends, before anything is started
        narrator.say(f"{task.repo}: {error}")
        return
    narrator.say(f"building {task.repo} at {task.commit[:8]}, attempt {task.attempts}: {link}")
    queue.started(task, link, clock.now())


def _settle(queue: Queue, task: QueuedRelease, run: Attempt, policy: Policy, clock: Clock) -> None:
    now = clock.now()
    if run.good:
        queue.published(task, run.link, now, page=run.page, lacks=run.lacks)
    elif run.elsewhere:
        queue.elsewhere(task, now)
    elif run.waiting and run.link is not None:
        queue.waits(task, run.link, now)
    else:
        queue.failed(
            task,
            run.error or "no reason was given",
            run.link,
            now,
            attempts=policy.attempts,
            final=run.final,
            repeats=run.refused,
            patience=policy.wait_days * DAY if run.passing else None,
        )
