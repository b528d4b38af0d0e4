"""Which traces are final as they are written, if nothing else of them is stored?

Settling is a function of the set of rows: settled again, a trace of which a batch holds all events comes out the same,
unless something outside of it has a say. That are reports of other traces that may be of the same call although no id
says so: another instrumentation in the same process told them, one of the two as the root of its trace, so that where
there is none, or none that ever loses the context, nothing is looked for.
Which of the two names a response id, and which came first, is all the same.
Whoever has the same response id in another trace comes second, and says so when he comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from operator import itemgetter

from otel_obs.pipeline.settle import Settled
from otel_obs.rows.batch import Whole

_trace_of = itemgetter(0)


def whole_traces(settled: Settled, more: Iterable[str] = ()) -> dict[str, Whole]:
    """Return the traces that are, or may be, final; *more* are traces with rows beside these."""
    counts = Counter(map(_trace_of, settled.events))
    for trace_id in ("", *more):
        counts.pop(trace_id, None)
    senders: dict[str, str] = {}
    for (trace_id, _), report in settled.reports.items():
        if senders.setdefault(trace_id, report.resource) != report.resource:
            counts.pop(trace_id, None)
    return {
        trace_id: Whole(events, senders.get(trace_id))
        for trace_id, events in counts.items()
        if senders.get(trace_id) != ""
    }
