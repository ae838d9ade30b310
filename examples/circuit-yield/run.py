"""The demo: the yield of an amplifier from a thousand simulations, each one a job of the service.

.venv/bin/python examples/circuit-yield/run.py [--jobs N] [--keep] [--output json]
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import stamina
from aggregate import aggregate
from build_image import build
from images.debian import PackagesError
from report import as_json, table, write_csv, write_histogram
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as ProgressTask
from rich.text import Text
from service import Service, ServiceError, running_service
from workflow import MAX_JOBS, Run, ensure_image, ensure_project, failed_jobs, fetch_results, run_jobs

from openhtc.client import HtcClient
from openhtc.client.images.push import PushError
from openhtc.client.models import Project, Summary
from openhtc.domain.errors import OpenhtcError

OUTPUT = Path(__file__).resolve().parents[2] / "demo-output"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Circuit yield by Monte Carlo, on openhtc.")
    parser.add_argument("--jobs", type=int, default=MAX_JOBS, help=f"1 to {MAX_JOBS} (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="data directory of the service (default: the user's)")
    parser.add_argument("--port", type=int, help="port of the API, if the service has to be started")
    parser.add_argument("--credentials", type=Path, help="use the service of this file and start none")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    parser.add_argument("--output-dir", type=Path, default=OUTPUT, help="for results.csv and histogram.png")
    ending = parser.add_mutually_exclusive_group()
    ending.add_argument("--keep", action="store_true", help="leave the service running at the end")
    ending.add_argument(
        "--stop", dest="keep", action="store_false", help="stop the service if the demo started it (default)"
    )
    found = parser.parse_args()
    if not 1 <= found.jobs <= MAX_JOBS:
        parser.error(f"--jobs: {found.jobs} is not between 1 and {MAX_JOBS}")
    return found


class Rate(ProgressColumn):
    def render(self, task: ProgressTask) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.0f} jobs/s", style="cyan")


class Demo:
    """console is for people: with --output json it writes to standard error."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.began = time.monotonic()
        self.console = Console(stderr=options.output == "json", highlight=False)

    def say(self, text: str) -> None:
        self.console.print(f"[dim]{time.monotonic() - self.began:6.1f} s[/dim]  {text}", soft_wrap=True)

    def with_service(self, service: Service) -> int:
        self.say(f"the service is at {service.credentials.base_url} (data in {service.data})")
        with HtcClient(service.credentials.base_url, service.credentials.api_key) as client:
            return self.with_client(client)

    def with_client(self, client: HtcClient) -> int:
        image = build(self.say)
        self.say(f"image {image.digest[:19]}, {image.compressed_bytes / 1e6:.1f} MB")
        project = ensure_project(client)
        name = ensure_image(client, project, image)
        self.say(f"project {project.project_id} has image {name}")
        run = self.watched_run(client, project, name)
        self.say("fetching the results")
        return self.finish(client, run)

    def watched_run(self, client: HtcClient, project: Project, image_name: str) -> Run:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(None),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            bar = progress.add_task("jobs", total=self.options.jobs)

            def show(summary: Summary) -> None:
                text = f"jobs: {summary.running} running, {summary.failed} failed"
                progress.update(bar, completed=summary.finished, description=text)

            return run_jobs(client, project, image_name, self.options.jobs, show)

    def finish(self, client: HtcClient, run: Run) -> int:
        results = fetch_results(client, run)
        found = aggregate(results, self.options.jobs)
        folder: Path = self.options.output_dir
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(results, folder / "results.csv")
        if results:
            write_histogram(results, found, folder / "histogram.png")
        for job, lines in failed_jobs(client, run) if run.summary.failed else []:
            self.console.print(
                f"[red]{job.job_uuid} {job.failure_code}: {job.status_reason}[/red]", *lines, sep="\n  "
            )
        self.console.print(table(found))
        if self.options.output == "json":
            print(json.dumps(self.facts(run) | as_json(found)))
        self.say(
            f"{run.summary.total} jobs in {run.seconds:.1f} s: {run.jobs_per_second:.1f} jobs/s; "
            f"{run.summary.failed} failed, {found.missing} without a result"
        )
        self.say(
            f"results.csv and histogram.png are in {folder}; in the service: {run.task.task_folder_path}"
        )
        return 0 if found.missing == 0 and run.summary.failed == 0 else 1

    def facts(self, run: Run) -> dict[str, object]:
        return {
            "project_id": run.project.project_id,
            "task_id": run.task.task_id,
            "jobs": run.summary.total,
            "succeeded": run.summary.succeeded,
            "failed": run.summary.failed,
            "seconds": round(run.seconds, 3),
            "jobs_per_second": round(run.jobs_per_second, 2),
            "output_dir": str(self.options.output_dir),
        }


def main() -> int:
    options = arguments()
    stamina.instrumentation.set_on_retry_hooks(())  # a repeated request is no news
    demo = Demo(options)
    try:
        if options.credentials is not None:
            with HtcClient.from_credentials(options.credentials) as client:
                return demo.with_client(client)
        with running_service(options.data, options.port, keep=options.keep, say=demo.say) as service:
            return demo.with_service(service)
    except (OpenhtcError, PackagesError, PushError, ServiceError) as error:
        print(f"demo: {error}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"demo: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
