-- Results of tasks. The first four columns are those of the Rust crate kojin-postgres 0.4: a table that it made is adopted with its rows, and it
-- goes on reading and writing. The runner puts the quoted schema in the place of @schema@.
--
-- Names that run here are unqualified: the runner sets search_path for this transaction. Functions run with a fixed search_path, so what they name is qualified.

create table if not exists kojin_results (
  task_id text primary key,
  result jsonb not null,
  created_at timestamptz default now(),
  expires_at timestamptz
);

-- error: why the task failed, as {"name", "message", "code", "details", "cause"}; null for a success. A failed row has the result 'null'.
-- trace_context: the span that stored this outcome, as a W3C traceparent; only where the writer traces.
-- stored_at: when this outcome was written, also when it replaced an earlier one (created_at stays).
-- stored_xid: the transaction that wrote this outcome. Streams catch up by it, in the order of commits. Null for rows that are older than the column, and for rows that
-- came from another cluster, whose transaction numbers mean nothing here; streams never show those as new.
alter table kojin_results
  add column if not exists error jsonb,
  add column if not exists trace_context text,
  add column if not exists stored_at timestamptz not null default now(),
  add column if not exists stored_xid pg_catalog.xid8;

-- Two steps: a volatile default in the first would rewrite a table that is already full. From here on it is the time of the write, not that of the
-- start of a transaction, which may be long past.
alter table kojin_results
  alter column stored_at set default clock_timestamp(),
  alter column stored_xid set default pg_catalog.pg_current_xact_id();

-- Serves the deletion of expired rows. Name and definition are the crate's.
create index if not exists idx_kojin_results_expires on kojin_results (expires_at) where expires_at is not null;
-- Serves the read of what was committed since a snapshot. btree: brin has no operators for xid8, and where pruning has left room in old pages it reads nearly all of the
-- table. A store takes the server the same time with either (40 µs for one row, 16 µs for each of many).
create index if not exists kojin_results_stored_xid on kojin_results (stored_xid) where stored_xid is not null;

-- Announces entries, each the JSON of an id (or of an id with what belongs to it), on a channel, under a name. As few payloads as fit: a payload has at most 7999
-- bytes, and one that is longer would fail the write. Chunks of 6500 bytes with entries of up to 1000 stay below that; a longer entry travels alone, and one that
-- fits nowhere tells listeners to look for themselves. So do more than 5000 entries, which a restore may bring.
create or replace function kojin_announce(channel text, name text, entries text[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  list constant text := array_to_string(entries, ',');
begin
  if cardinality(entries) > 5000 then
    perform pg_notify(channel, '{"v":1,"rescan":true}');
    return;
  end if;
  -- What nearly always comes: everything fits one payload.
  if octet_length(list) <= 6500 then
    perform pg_notify(channel, '{"v":1,"' || name || '":[' || list || ']}');
    return;
  end if;
  perform pg_notify(channel, case when chunk is null then '{"v":1,"rescan":true}' else '{"v":1,"' || name || '":[' || string_agg(entry, ',') || ']}' end)
  from (
    select
      entry,
      case
        when octet_length(entry) > 7900 then null
        when octet_length(entry) > 1000 then -row_number() over ()
        else sum(octet_length(entry) + 1) over (rows unbounded preceding) / 6500
      end as chunk
    from unnest(entries) as entry
  ) as sized
  group by chunk;
end
$$;

-- Announces the rows of one statement: ids, never results, since every role that can connect may listen.
--
-- kojin.inline_bytes = n lets results of up to n bytes travel along.
-- security invoker, a fixed search_path and qualified names: a writer must not be able to slip in a function of his own.
create or replace function kojin_results_notify() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  inline_bytes constant int := coalesce(substring(current_setting('kojin.inline_bytes', true) from '^[0-9]{1,4}$')::int, 0);
  entries text[];
begin
  if inline_bytes = 0 then
    entries := array(select to_json(task_id)::text from new_rows limit 5001);
  else
    -- A result full of quotes may fit, and be too long once it is quoted again: then the id alone, rather than a rescan for everybody.
    entries := array(
      select case when octet_length(inline_entry) <= 7900 then inline_entry else to_json(task_id)::text end
      from (
        select
          task_id,
          case
            when octet_length(result::text) + octet_length(coalesce(error::text, '')) <= inline_bytes
            then json_build_array(task_id, result::text, error::text, (extract(epoch from stored_at) * 1000000)::bigint)::text
          end as inline_entry
        from new_rows
        limit 5001
      ) as sized
    );
  end if;
  -- An upsert fires both triggers, one of them for nothing. A NOTIFY takes a lock of the whole cluster: not for nothing.
  if cardinality(entries) > 0 then
    -- As in lib/notify/channel.ts. A hash, since a channel has at most 63 bytes and a schema's name alone may have as many.
    perform @schema@.kojin_announce('kojin_' || left(encode(sha256(convert_to(tg_table_schema, 'UTF8')), 'hex'), 16), 'ids', entries);
  end if;
  return null;
end
$$;

-- Two triggers, since one with a transition table serves one event only. kojin.notify = 'off' (transaction-local) leaves all announcements to the writer, 'statement' those of
-- results, which the statement makes itself: asked here, since a function that is called to return at once takes the server 5 µs.
drop trigger if exists kojin_results_notify_insert on kojin_results;
create trigger kojin_results_notify_insert after insert on kojin_results
referencing new table as new_rows for each statement
when (coalesce(pg_catalog.current_setting('kojin.notify', true), '') not in ('off', 'statement')) execute function kojin_results_notify();

drop trigger if exists kojin_results_notify_update on kojin_results;
create trigger kojin_results_notify_update after update on kojin_results
referencing new table as new_rows for each statement
when (coalesce(pg_catalog.current_setting('kojin.notify', true), '') not in ('off', 'statement')) execute function kojin_results_notify();

-- For writers that know only the crate's columns: an update by them is a new outcome, and a success, so it gets a time and loses an old error, and what
-- stored the outcome before. A writer that sets a time of its own, whatever it is, still leaves the number of its transaction.
-- Writers that know the others set stored_at and stored_xid, and cost nothing here: the condition below is checked without calling the function.
create or replace function kojin_results_foreign_update() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  new.stored_xid := pg_catalog.pg_current_xact_id();
  if new.stored_at is distinct from old.stored_at then
    return new;
  end if;
  new.stored_at := clock_timestamp();
  if new.error is not distinct from old.error then
    new.error := null;
  end if;
  if new.trace_context is not distinct from old.trace_context then
    new.trace_context := null;
  end if;
  return new;
end
$$;

drop trigger if exists kojin_results_foreign_update on kojin_results;
create trigger kojin_results_foreign_update before update of result on kojin_results
for each row when (
  coalesce(new.stored_at operator(pg_catalog.=) old.stored_at, true) or coalesce(new.stored_xid operator(pg_catalog.=) old.stored_xid, true)
) execute function kojin_results_foreign_update();
