"""A server on this machine that answers any request with the bytes that a test gives it, whole or a few at a time."""

import socket
import threading
import time
from dataclasses import dataclass

LONGEST_SECONDS = 90.0


@dataclass(frozen=True)
class Act:
    """What the server does with a request: send `begin`, then `drip` again and again, then hang up."""

    begin: bytes
    drip: bytes = b""
    pause: float = 0.02


class HostileServer:
    """Listens until `stop`. A request takes the next of `acts`; the last one stays."""

    def __init__(self) -> None:
        self.acts, self.requests = [Act(b"")], 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._stopped = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def will(self, *acts: Act) -> None:
        self.acts, self.requests = list(acts), 0

    def stop(self) -> None:
        self._stopped.set()
        self._socket.close()

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(LONGEST_SECONDS)
                _read_request(connection)
                self.requests += 1
                act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
                connection.sendall(act.begin)
                end = time.monotonic() + LONGEST_SECONDS
                while act.drip and time.monotonic() < end and not self._stopped.is_set():
                    connection.sendall(act.drip)
                    time.sleep(act.pause)
            except OSError:  # the other side has had enough
                return


def _read_request(connection: socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        if not (part := connection.recv(65536)):
            return
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    missing = int(lengths[0]) - len(body) if lengths else 0
    while missing > 0:
        missing -= len(connection.recv(65536))


def http(body: bytes, status: str = "200 OK", headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """A whole answer whose connection ends with it."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body
