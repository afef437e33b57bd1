"""A W&B server on loopback that misbehaves: silent, failing, or talking nonsense."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_RUN = {
    "id": "r",
    "name": "r",
    "displayName": "r",
    "config": "{}",
    "summaryMetrics": "{}",
    "historyLineCount": 0,
    "eventsLineCount": 0,
    "logLineCount": 0,
    "historyTail": "[]",
    "eventsTail": "[]",
    "sweepName": None,
    "project": {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}},
}
_ANSWERS = {
    "viewer": {"id": "v", "username": "u", "entity": "e", "flags": "{}", "teams": {"edges": []}},
    "serverInfo": {"cliVersionInfo": {}, "features": [], "latestLocalVersionInfo": None},
    "upsertBucket": {"bucket": _RUN, "inserted": True},
    "model": None,
    "project": None,
    "createRunFiles": {"runID": "r", "uploadHeaders": [], "files": []},
}


class Server:
    """Serves until `close`; `behaviour` is silent, garbage, failing or working."""

    def __init__(self, behaviour: str):
        self.behaviour, self.requests = behaviour, []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Refuse every further connection."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _handler(server):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.requests.append((self.path, body))
                if server.behaviour == "silent":
                    time.sleep(3600)
                code = 500 if server.behaviour == "failing" else 200
                text = b"\x00not json" * 50
                if server.behaviour == "working":
                    text = json.dumps({"data": _ANSWERS}).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PUT = do_POST

            def log_message(self, *_):
                pass

        return Handler
