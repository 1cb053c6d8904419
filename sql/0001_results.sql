-- Results of tasks. The first four columns are those of the Rust crate kojin-postgres 0.4: a table that it made is adopted with its rows, and it
-- goes on reading and writing. The runner puts the quoted schema in the place of @schema@.
--
-- This file and the next are for every database that speaks as Postgres does: tables and indexes, and nothing else. What counts and announces is in the third.

create table if not exists @schema@.kojin_results (
  task_id text primary key,
  result jsonb not null,
  created_at timestamptz default now(),
  expires_at timestamptz
);

-- error: why the task failed, as {"name", "message", "code", "details", "cause"}; null for a success. A failed row has the result 'null'.
-- trace_context: the span that stored this outcome, as a W3C traceparent; only where the writer traces.
-- stored_at: when this outcome was written, also when it replaced an earlier one (created_at stays). Streams catch up by it after a lost connection.
alter table @schema@.kojin_results
  add column if not exists error jsonb,
  add column if not exists trace_context text,
  add column if not exists stored_at timestamptz not null default now();

-- Two steps: a volatile default in the first would rewrite a table that is already full. From here on it is the time of the write, not that of the
-- start of a transaction, which may be long past.
alter table @schema@.kojin_results alter column stored_at set default clock_timestamp();

-- Serves the deletion of expired rows. Name and definition are the crate's.
create index if not exists idx_kojin_results_expires on @schema@.kojin_results (expires_at) where expires_at is not null;
