"""An HTTP server outside of a fleet that counts the effects of its runs."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "chaos"


class Effects:
    """Effects by the id of their order. A run has its effect by setting a key of a collection."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/collections"
        self.counts: Counter[str] = Counter()


@contextmanager
def counting_effects() -> Iterator[Effects]:
    """Serve on a port of this machine until the block ends."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Otherwise the body waits 40 ms for the acknowledgement of the headers.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["content-length"]))
            if not text:
                # The worker was killed before it had sent its request: there is no effect.
                self.close_connection = True
                return
            body = json.loads(text)
            with lock:
                effects.counts.update(str(item["key"]) for item in body["items"])
            reply = json.dumps({"upserted": len(body["items"]), "errors": []}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    effects = Effects(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield effects
    finally:
        server.shutdown()
        server.server_close()
