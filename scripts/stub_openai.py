#!/usr/bin/env python3
"""An OpenAI-compatible endpoint that needs no model, for demonstrations and tests.

It streams its answers, and fails on request:
    stub_openai.py --port 8000 --delay-ms 50 --answer 'All is well.'
    stub_openai.py --fail 429 --times 2      # the first two questions, then it answers
It prints its base URL once it listens.
"""
import argparse
import http.server
import itertools
import json
import time

FAILURES = ["429", "500", "cut", "broken", "hang", "endless"]


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0, the default, chooses one")
    parser.add_argument("--answer", help="what it says; its question where nothing is given")
    parser.add_argument("--delay-ms", type=float, default=0, help="before each token")
    parser.add_argument("--fail", choices=FAILURES, help="what goes wrong")
    parser.add_argument("--times", type=int, default=-1, help="how often; always if not given")
    return parser.parse_args()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        chat = self.path.endswith("/chat/completions")
        asked = body["messages"][-1]["content"] if chat else body.get("prompt", "")
        stub = self.server.stub
        fail = stub.fail if stub.times else None
        stub.times -= bool(fail)
        if fail == "hang":
            return self.rfile.read(1)
        if fail in ("429", "500"):
            return self.head(int(fail), ("retry-after", "1"), ("content-length", "0"))
        self.head(200, ("content-type", "text/event-stream"), ("transfer-encoding", "chunked"))
        words = (stub.answer or f"You asked: {asked}").split(" ")
        for at, word in enumerate(itertools.repeat("more") if fail == "endless" else words):
            time.sleep(stub.delay_ms / 1000)
            if fail in ("cut", "broken") and at >= len(words) // 2:
                self.close_connection = True
                return self.chunk('data: {"choices": [{\n\n') if fail == "broken" else None
            word = " " * bool(at) + word
            piece = {"delta": {"content": word}} if chat else {"text": word}
            event = {"model": body.get("model"), "choices": [{"index": 0, **piece}]}
            self.chunk(f"data: {json.dumps(event)}\n\n")
        self.chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def head(self, status, *fields):
        self.send_response(status)
        for field in fields:
            self.send_header(*field)
        self.end_headers()

    def chunk(self, text):
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass  # who asked has gone


if __name__ == "__main__":
    stub = options()
    server = Server(("127.0.0.1", stub.port), Handler)
    server.stub = stub
    print(f"http://127.0.0.1:{server.server_address[1]}/v1", flush=True)
    server.serve_forever()
