"""A small agent server: named sessions, each a shell that lives as long as the server, driven over HTTP.

server.py serve                  POST /sessions/NAME with a JSON object {"command": ...}, GET /sessions
server.py run COMMAND            what a client does: runs it in the session that SESSION names
"""

import http.client
import json
import os
import subprocess
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8765


class Session:
    """A shell. Its directory, variables and background jobs stay from one command to the next."""

    def __init__(self):
        self.turn = threading.Lock()
        self.commands = 0
        pipe = subprocess.PIPE
        self.shell = subprocess.Popen(["bash"], stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def run(self, command):
        """The exit code and the output of one command."""
        mark = uuid.uuid4().hex
        with self.turn:
            self.shell.stdin.write(f"{command}\nprintf '\\n%s %s\\n' {mark} $?\n")
            self.shell.stdin.flush()
            self.commands += 1
            lines = []
            for line in self.shell.stdout:
                if line.startswith(mark):
                    return {"code": int(line.split()[1]), "output": "".join(lines)[:-1]}
                lines.append(line)
        return {"code": self.shell.wait(), "output": "".join(lines)}  # the command ended the shell


SESSIONS = {}
TURN = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        found = {name: session.commands for name, session in sorted(SESSIONS.items())}
        self.answer(*((200, found) if self.path == "/sessions" else (404, {})))

    def do_POST(self):
        # A web page in a browser of the host can reach the port as well: it cannot send this without being asked.
        if self.headers.get("Content-Type") != "application/json" or not self.path.startswith("/sessions/"):
            return self.answer(400, {})
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = self.path.removeprefix("/sessions/")
        with TURN:
            session = SESSIONS.get(name)
            if session is None or session.shell.poll() is not None:
                session = SESSIONS[name] = Session()
        return self.answer(200, session.run(asked["command"]))

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def run(command):
    """Run a command in the session that SESSION names, and end as it did."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT)
    name = os.environ.get("SESSION", "default")
    connection.request(
        "POST", f"/sessions/{name}", json.dumps({"command": command}), {"Content-Type": "application/json"}
    )
    ended = json.load(connection.getresponse())
    print(ended["output"], end="")
    sys.exit(ended["code"])


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(sys.argv[2])
    print(f"listening on port {PORT}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
