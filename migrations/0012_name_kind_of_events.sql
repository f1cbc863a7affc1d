-- Why: exceptions that came as log records are rows of spans, which nobody would guess.
-- Locks: a comment; none that matters.
comment on column spans.kind is 'As in OTLP; -1: no span, but an event of the span of that id, which came as a log record';
