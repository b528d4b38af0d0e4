"""Two services, one trace and one workspace: the front knows who asks, the back asks the model.

    uvicorn --factory examples.services:back --port 8001
    BACK=http://127.0.0.1:8001 uvicorn --factory examples.services:front --port 8000
    curl -H "x-api-key: key-of-billing" "http://127.0.0.1:8000/tickets?question=Why?"

Ids travel as baggage. The front believes none that comes from outside; the back, which only the front can reach,
believes those that it is told to. The client of the front is instrumented alone: one that asks others must not tell
them whose work it is.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import httpx
import openai
from fastapi import FastAPI, Header, HTTPException
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.trace import Span

from otel_obs.instrumentation import agent, current_run, propagation, workflow
from otel_obs.semconv import RUN_ID, USER_ID, WORKFLOW_ID, WORKSPACE_ID

from .stage import report

KEYS = {"key-of-billing": ("billing-team", "dana"), "key-of-sales": ("sales-team", "alex")}
"""API key -> workspace and user, as the service's own tables have it."""


def front() -> FastAPI:
    """Return the service that people ask."""
    report("front")
    app = FastAPI()
    FastAPIInstrumentor.instrument_app(app, server_request_hook=say_whose_it_is)
    client = httpx.AsyncClient(base_url=os.environ["BACK"], timeout=30)
    HTTPXClientInstrumentor.instrument_client(client)

    @workflow("support")
    async def answer(question: str, workspace_id: str, user_id: str) -> dict[str, str]:
        del workspace_id, user_id  # the decorator has found them
        answered = await client.get("/answers", params={"question": question})
        said: dict[str, str] = answered.raise_for_status().json()
        return said

    @app.get("/tickets")
    async def tickets(question: str, x_api_key: Annotated[str, Header()]) -> dict[str, str]:
        if x_api_key not in KEYS:
            raise HTTPException(401)
        workspace_id, user_id = KEYS[x_api_key]
        return await answer(question, workspace_id=workspace_id, user_id=user_id)

    return app


def say_whose_it_is(span: Span, scope: dict[str, Any]) -> None:
    """Write workspace and user onto the server's span, which begins before the request is looked at."""
    key = dict(scope["headers"]).get(b"x-api-key", b"").decode("latin-1")
    if key in KEYS:
        workspace_id, user_id = KEYS[key]
        span.set_attributes({WORKSPACE_ID: workspace_id, USER_ID: user_id})


def back() -> FastAPI:
    """Return the service that asks the model."""
    report("back")
    propagation.configure(believed=[WORKSPACE_ID, USER_ID, WORKFLOW_ID, RUN_ID])
    OpenAIInstrumentor().instrument()
    app = FastAPI()
    FastAPIInstrumentor.instrument_app(app)
    client = openai.AsyncOpenAI(api_key=os.environ.get("OPENAI_API_KEY", "none"))

    @agent("writer")
    async def write(question: str) -> str:
        said = await client.chat.completions.create(
            model="gpt-5-mini",
            messages=[{"role": "system", "content": "You are the writer."}, {"role": "user", "content": question}],
        )
        return said.choices[0].message.content or ""

    @app.get("/answers")
    async def answers(question: str) -> dict[str, str | None]:
        return {"answer": await write(question), "workspace": current_run().workspace_id}

    return app
