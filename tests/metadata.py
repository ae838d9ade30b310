"""A cloud's metadata service, as far as an agent asks it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, str]


class Metadata:
    """Says what ``answer`` returns for a method and a path, if the request has the header that it must have."""

    def __init__(self) -> None:
        self.answer: Callable[[str, str], Answer] = lambda method, path: (404, "")
        self.needs: dict[str, str] = {}
        self.asked = 0
        self.more = threading.Event()
        metadata = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                metadata.serve(self)

            do_PUT = do_GET

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        missing = handler.command == "GET" and any(
            handler.headers.get(name) != value for name, value in self.needs.items()
        )
        status, text = (401, "") if missing else self.answer(handler.command, handler.path)
        self.asked += 1
        self.more.set()
        handler.send_response(status)
        data = text.encode()
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def wait_for_more(self, times: int = 6) -> None:
        until = self.asked + times
        while self.asked < until:
            self.more.clear()
            assert self.more.wait(10), "nobody asks"


@contextmanager
def metadata_service() -> Iterator[Metadata]:
    made = Metadata()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()
