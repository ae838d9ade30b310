"""What `openhtc up` shows while the parts start and when one of them dies."""

from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from openhtc.embedded.events import Event, Happening


class UpPrinter:
    """A listener that prints; a spinner with what is awaited runs on a terminal between the lines."""

    def __init__(self, console: Console, data: Path, data_argument: str, *, stays: bool) -> None:
        self._console = console
        self._data = data
        self._data_argument = data_argument
        self._stays = stays
        self._awaited: dict[str, None] = {}
        self._status: Status | None = None
        self._stopping = False

    def __call__(self, event: Event) -> None:
        try:
            self._show(event)
        except OSError:  # the terminal or the pipe has gone; the service goes on without it
            self._console.quiet = True

    def _show(self, event: Event) -> None:
        match event.happening:
            case Happening.STARTING:
                self._awaited[event.part] = None
            case Happening.READY:
                self._awaited.pop(event.part, None)
                self._line(
                    event,
                    "[green]ready[/green]",
                    f"{escape(event.address)}  [dim]{event.seconds:.1f} s[/dim]",
                )
            case Happening.DIED | Happening.START_FAILED:
                self._awaited.pop(event.part, None)
                self._line(event, "[red]died [/red]", escape(event.text))
            case Happening.LEFTOVER_ENDED:
                self._line(event, "[yellow]ended[/yellow]", "left over from a service that was killed")
            case Happening.STOPPED:
                self._awaited.pop(event.part, None)
                self._line(event, "stopped", f"[dim]{event.seconds:.1f} s[/dim]")
            case Happening.ALL_READY:
                self._all_ready()
            case Happening.STOPPING:
                self._awaited = {}
                self._begin_stopping()
            case Happening.FAILED:
                self.pause()
        self._show_awaited()

    def __enter__(self) -> "UpPrinter":
        self._show_awaited("starting")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()

    def pause(self) -> None:
        """End the spinner; what follows is printed below it."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _show_awaited(self, text: str = "") -> None:
        wanted = text or (f"starting {', '.join(self._awaited)}" if self._awaited else "")
        if not wanted or not self._console.is_terminal:
            self.pause()
        elif self._status is None:
            self._status = self._console.status(wanted)
            self._status.start()
        else:
            self._status.update(wanted)

    def _line(self, event: Event, word: str, text: str) -> None:
        self._console.print(f"{event.part:<9} {word} {text}")

    def _begin_stopping(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._console.print("stopping in order; ask again to hurry")

    def _all_ready(self) -> None:
        from openhtc.embedded.layout import DataLayout
        from openhtc.embedded.report import limits_missing

        layout = DataLayout(self._data)
        self.pause()
        for limit in limits_missing(layout):
            self._console.print(f"[yellow]not enforced here:[/yellow] {escape(limit)}")
        self._console.print(f"credentials: {escape(str(layout.credentials))}")
        self._console.print(f"try next:    [bold]openhtc status{escape(self._data_argument)}[/bold]")
        if self._stays:
            self._console.print("Ctrl-C stops everything in order.")
