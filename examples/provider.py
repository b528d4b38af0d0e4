"""A stand-in of the OpenAI and Anthropic HTTP APIs on this machine: enough for their real client libraries.

It answers the requests of ``support_ticket.py`` with words and usage that look like the real thing, and keeps
the list of what it served, which is the truth to compare a bill with.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from . import anthropic_api, openai_api, responses_api
from .dialogue import Answer, answer_to, dated


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One request that was answered, and so would be billed."""

    operation: str
    """``chat`` or ``embeddings``."""
    model: str
    """The dated name that the response bears."""
    response_id: str
    """Empty for embeddings, whose responses have none."""
    input_tokens: int
    """Every token of the prompt, cached ones included."""
    output_tokens: int = 0
    """Every generated token, reasoning included."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    stream: bool = False


class StandIn:
    """The server; use it as a context manager."""

    def __init__(self) -> None:
        self.served: list[Served] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.served))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def openai_base_url(self) -> str:
        """Return what the OpenAI client takes as ``base_url``."""
        return f"{self.anthropic_base_url}/v1"

    @property
    def anthropic_base_url(self) -> str:
        """Return what the Anthropic client takes as ``base_url``."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> StandIn:  # noqa: PYI034  # an example needs no typing_extensions
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(served: list[Served]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
            path = urlsplit(self.path).path
            if path == "/v1/chat/completions":
                self._chat(request)
            elif path == "/v1/responses":
                self._responses(request)
            elif path == "/v1/embeddings":
                self._embeddings(request)
            elif path == "/v1/messages":
                self._messages(request)
            else:
                self._send({"error": {"type": "not_found_error", "message": f"no such path: {path}"}}, 404)

        def _chat(self, request: dict[str, Any]) -> None:
            answer, response_id = answer_to(openai_api.prompt_of(request)), f"chatcmpl-{secrets.token_hex(12)}"
            self._bill(request, answer, response_id)
            if request.get("stream"):
                self._stream(openai_api.completion_events(request, answer, response_id))
            else:
                self._send(openai_api.completion(request, answer, response_id))

        def _responses(self, request: dict[str, Any]) -> None:
            answer, response_id = answer_to(responses_api.prompt_of(request)), f"resp_{secrets.token_hex(24)}"
            self._bill(request, answer, response_id)
            if request.get("stream"):
                self._stream(responses_api.response_events(request, answer, response_id))
            else:
                self._send(responses_api.response(request, answer, response_id))

        def _messages(self, request: dict[str, Any]) -> None:
            answer, response_id = answer_to(anthropic_api.prompt_of(request)), f"msg_01{secrets.token_hex(11)}"
            self._bill(request, answer, response_id)
            if request.get("stream"):
                self._stream(anthropic_api.message_events(request, answer, response_id))
            else:
                self._send(anthropic_api.message(request, answer, response_id))

        def _embeddings(self, request: dict[str, Any]) -> None:
            tokens = openai_api.embedding_tokens(request)
            time.sleep(0.02)
            served.append(
                Served(operation="embeddings", model=dated(request["model"]), response_id="", input_tokens=tokens)
            )
            self._send(openai_api.embeddings(request))

        def _bill(self, request: dict[str, Any], answer: Answer, response_id: str) -> None:
            """Take the time of a small model, and put *answer* on the bill before anybody can have read it."""
            time.sleep(0.02 + min(answer.output_tokens, 600) / 10_000)
            served.append(
                Served(
                    operation="chat",
                    model=dated(request["model"]),
                    response_id=response_id,
                    input_tokens=answer.input_tokens,
                    output_tokens=answer.output_tokens,
                    cache_read_tokens=answer.cache_read_tokens,
                    cache_write_tokens=answer.cache_write_tokens,
                    reasoning_tokens=answer.reasoning_tokens,
                    stream=bool(request.get("stream")),
                )
            )

        def _send(self, content: dict[str, Any], status: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, events: Iterable[str]) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            self.close_connection = True
            # A client that has heard enough goes away; a provider bills the answer all the same.
            with suppress(ConnectionError):
                for event in events:
                    self.wfile.write(event.encode())
                    time.sleep(0.0005)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
