"""What an operator types: ``myspinbot-worker <command>``.

Only this module and click are imported before the command is known; each command lives in a module that is
imported when it is called. To add one, add a line to :data:`COMMANDS`.
"""

from __future__ import annotations

import click

from .. import __version__
from .lazy import Lazy, LazyGroup

COMMANDS = {
    "demo": Lazy("demo:demo", "Make a talking video on this machine: a whole farm for one job."),
    "ingest": Lazy("run:ingest", "Run an ingestor: entries of the data stream become runs."),
    "submit": Lazy("jobs:submit", "Send a graph to the farm."),
    "watch": Lazy("jobs:watch", "Follow a job until its visit ends."),
    "jobs": Lazy("jobs:jobs", "List open runs and what ended last."),
    "show": Lazy("jobs:show", "Show one job, node by node."),
    "cancel": Lazy("jobs:cancel", "Cancel a job, wherever it is."),
    "pause": Lazy("queues:pause", "Let no worker take a node from a queue."),
    "resume": Lazy("queues:resume", "Let workers take nodes from a queue again."),
    "explain": Lazy("explain:explain", "Say in words why a job is where it is."),
    "retry": Lazy("retry:retry", "Send a failed or cancelled job on from where it failed."),
    "dead": Lazy("dead:dead", "Look at refused entries and failed nodes; retry or drop them."),
    "audit": Lazy("audit:audit", "See whether every entry that came in is accounted for."),
    "workflow": Lazy("workflow:workflow", "Add, check, list and run ComfyUI workflows."),
    "capabilities": Lazy("about:capabilities", "List the services this farm offers."),
    "config": Lazy("about:config", "Show every setting, its value and its origin."),
    "doctor": Lazy("doctor:doctor", "Check everything the farm needs on this machine."),
}
"""Command name to where it is and what it does, in the order of the help."""

EPILOG = """\b
Exit codes:
  0    done
  1    it failed: the job, a check, Redis out of reach, a refused graph or retry,
       an audit that does not match
  2    a wrong option, argument or setting
  3    there is no such job, no open run of it, or no such dead letter
  4    watching ended by --timeout
  130  interrupted
"""


@click.group(
    cls=LazyGroup,
    commands_in=__name__,
    lazy=COMMANDS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="myspinbot-worker")
def main() -> None:
    """A GPU task farm for generative-video jobs.

    Settings come from the files in $WORKER_HOME/config and from environment variables; `config` lists them.
    The workers themselves are started by Dramatiq: dramatiq myspinbot_worker.actors.

    \b
    Example:
      myspinbot-worker doctor
      myspinbot-worker ingest
      myspinbot-worker submit graph.json --watch
    """
