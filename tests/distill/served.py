"""The server of small models as tests use it: started in a process of its own, told which faults to have."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

SCRIPT = Path(__file__).with_name("teacher_server.py")


class TeacherServer:
    """A running server."""

    def __init__(self, models: dict[str, Path]) -> None:
        command = [sys.executable, str(SCRIPT), *(f"{name}={path}" for name, path in models.items())]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def control(self, **settings) -> None:
        """Forget all requests and set limits and the faults of the next ones."""
        body = json.dumps(settings).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/control", data=body)).read()

    @property
    def seen(self) -> dict:
        """Requests since, the most at once, and their bodies without audio."""
        return json.load(urllib.request.urlopen(f"{self.url}/control"))

    def stop(self) -> None:
        """End the process."""
        self.process.communicate()
