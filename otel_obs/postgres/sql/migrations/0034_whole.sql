-- A trace that came in one batch is settled with it. If nothing else of it was stored until it is quiet, that is all:
-- its events are counted, and not read again.

SET LOCAL search_path TO otel_obs;

ALTER TABLE unsettled_traces ADD COLUMN events integer;

COMMENT ON COLUMN unsettled_traces.events IS 'Events that it had when the batch that wrote them settled it for good, if these are all there are; NULL where it has to be settled.';
