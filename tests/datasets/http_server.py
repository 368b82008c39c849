"""A small web server on the loopback that misbehaves as told, for tests of downloads."""

import contextlib
import http.server
import threading


class Server:
    """Serves ``files[path]``; ``script[path]`` is a list of what goes wrong with each request.

    Faults: an int (status code), ``("cut", n)`` (the connection ends after n bytes), ``"page"``
    (an error page with status 200), ``"no-range"`` (the whole file, whatever was asked),
    ``"other-range"`` (another part of the file), None (nothing).
    """

    def __init__(self):
        self.files, self.script, self.requests = {}, {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"

    def answer(self, request):
        asked = request.headers.get("Range")
        self.requests.append((request.path, asked))
        faults = self.script.get(request.path, [])
        fault = faults.pop(0) if faults else None
        data = self.files.get(request.path)
        if data is None:
            fault = 404
        request.close_connection = True
        if isinstance(fault, int):
            request.send_response(fault)
            request.send_header("Content-Length", "0")
            request.send_header("Retry-After", "0")
            request.end_headers()
            return
        if fault == "page":
            data = b"<html>please prove that you are human</html>"
        start = 0
        if asked and fault not in ("no-range", "page"):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                request.send_response(416)
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            begin = start + 7 if fault == "other-range" else start
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        else:
            request.send_response(200)
        body = data[start:]
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if isinstance(fault, tuple):
            body = body[: fault[1]]
        with contextlib.suppress(OSError):
            request.wfile.write(body)

    def __enter__(self):
        threading.Thread(target=self.httpd.serve_forever, daemon=True, args=(0.01,)).start()
        return self

    def __exit__(self, *_):
        self.httpd.shutdown()
        self.httpd.server_close()
