"""The outside world: an HTTP server that does each effect once by its `Idempotency-Key`, and remembers all of them."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mesh.local.ports import LOOPBACK


class Effects:
    """`asked` counts the requests for each key; the effect happens with the first."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{LOOPBACK}:{port}/effect"
        self.host = f"{LOOPBACK}:{port}"
        self.asked: Counter[str] = Counter()


@contextmanager
def effect_server() -> Iterator[Effects]:
    """Serves until the context ends. The answer is the JSON that was sent."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with lock:
                effects.asked[self.headers["idempotency-key"]] += 1
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    lock = threading.Lock()

    class Server(ThreadingHTTPServer):
        # The standard library's five make callers wait and fail.
        request_queue_size = 256

    server = Server((LOOPBACK, 0), Handler)
    server.daemon_threads = True
    effects = Effects(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield effects
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
