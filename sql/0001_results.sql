-- Results of tasks. The first four columns are those of the Rust crate kojin-postgres 0.4. An existing table of the
-- crate is adopted with its rows, and the crate can keep using it.
--
-- The runner replaces @schema@ by the quoted schema and sets search_path to pg_catalog, pg_temp. All names are
-- qualified all the same. "@step" begins a separate transaction, which locks at most one existing table. "@index"
-- begins a single index, which is built concurrently if its table is large. "@batches" names a function that is called
-- for page after page of rows. An interrupted step runs again, so every step must be repeatable.

-- @step Tables of results
create table if not exists @schema@.kojin_results (
  task_id pg_catalog.text primary key,
  result pg_catalog.jsonb not null,
  created_at timestamp with time zone default pg_catalog.now(),
  expires_at timestamp with time zone
);

-- @step Columns of kojin_results
-- error: the failure of the task, as {"name", "message", "code", "details", "cause"}; null for a success. A row with a
-- failure has the result 'null'.
-- trace_context: the span that stored this outcome, as a W3C traceparent; null if the writer does not trace.
-- stored_at: when this outcome was written. Unlike created_at, it changes when an outcome is replaced.
-- stored_xid: the transaction that wrote this outcome. Streams use it to find new rows in commit order. Null for rows
-- that are older than the column, and for rows of another cluster, whose transaction numbers mean nothing here. Streams
-- never emit rows without it.
alter table @schema@.kojin_results
  add column if not exists error pg_catalog.jsonb,
  add column if not exists trace_context pg_catalog.text,
  add column if not exists stored_at timestamp with time zone not null default pg_catalog.now(),
  add column if not exists stored_xid pg_catalog.xid8;

-- A separate statement, since a volatile default in the first one would rewrite an existing table. From here on
-- stored_at is the time of the write rather than that of the start of its transaction, which may be much earlier.
alter table @schema@.kojin_results
  alter column stored_at set default pg_catalog.clock_timestamp(),
  alter column stored_xid set default pg_catalog.pg_current_xact_id();

-- @index idx_kojin_results_expires on kojin_results
-- Serves the deletion of expired rows. Name and definition are the crate's.
create index if not exists idx_kojin_results_expires on @schema@.kojin_results (expires_at) where expires_at is not null;

-- @index kojin_results_stored_at on kojin_results
-- Serves the first read of a stream, which has no snapshot yet and reads what was stored since a given time.
create index if not exists kojin_results_stored_at on @schema@.kojin_results using brin (stored_at) with (autosummarize = on);

-- @index kojin_results_stored_xid on kojin_results
-- Serves the read of what was committed since a snapshot. Not brin: it has no operators for xid8, and once new rows
-- fill the gaps that pruning leaves in old pages, it reads nearly the whole table. Storing costs the same with either
-- index (40 us for a single row, 16 us for each of many).
create index if not exists kojin_results_stored_xid on @schema@.kojin_results (stored_xid) where stored_xid is not null;

-- @step Functions of results
-- Announces entries under a name on a channel, in as few payloads as possible. An entry is the JSON of an id, or of an
-- id with an inline result. A payload longer than 7999 bytes would fail the write. Chunks of 6500 bytes with entries of
-- up to 1000 bytes stay below that. A longer entry is sent by itself. An entry that does not fit, or more than 5000
-- entries, as in a restore, is sent as a request to re-read everything.
create or replace function @schema@.kojin_announce(channel pg_catalog.text, name pg_catalog.text, entries pg_catalog.text[]) returns pg_catalog.void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  list constant pg_catalog.text := pg_catalog.array_to_string(entries, ','::pg_catalog.text);
begin
  if pg_catalog.cardinality(entries) operator(pg_catalog.>) 5000 then
    perform pg_catalog.pg_notify(channel, '{"v":1,"rescan":true}'::pg_catalog.text);
    return;
  end if;
  -- The usual case: everything fits into one payload.
  if pg_catalog.octet_length(list) operator(pg_catalog.<=) 6500 then
    perform pg_catalog.pg_notify(
      channel,
      '{"v":1,"'::pg_catalog.text operator(pg_catalog.||) name operator(pg_catalog.||) '":['::pg_catalog.text operator(pg_catalog.||) list
        operator(pg_catalog.||) ']}'::pg_catalog.text
    );
    return;
  end if;
  perform pg_catalog.pg_notify(
    channel,
    case
      when chunk is null then '{"v":1,"rescan":true}'::pg_catalog.text
      else '{"v":1,"'::pg_catalog.text operator(pg_catalog.||) name operator(pg_catalog.||) '":['::pg_catalog.text
        operator(pg_catalog.||) pg_catalog.string_agg(entry, ','::pg_catalog.text) operator(pg_catalog.||) ']}'::pg_catalog.text
    end
  )
  from (
    select
      entry,
      case
        when pg_catalog.octet_length(entry) operator(pg_catalog.>) 7900 then null
        when pg_catalog.octet_length(entry) operator(pg_catalog.>) 1000 then operator(pg_catalog.-) pg_catalog.row_number() over ()
        else pg_catalog.sum(pg_catalog.octet_length(entry) operator(pg_catalog.+) 1) over (rows unbounded preceding) operator(pg_catalog./) 6500::bigint
      end as chunk
    from pg_catalog.unnest(entries) as entry
  ) as sized
  group by chunk;
end
$$;

-- Announces the rows of one statement: their ids, and not their results, since every role that can connect may listen.
-- Reads three settings. A session may have set them to anything, but no value can fail the write:
--   kojin.notify = 'off': the writer sends its notifications itself.
--   kojin.payload: the payloads, one per line, of a statement that knows all its rows. They are sent as they are, but
--   not for the statements that other triggers run within this one, whose rows they do not name.
--   kojin.inline_bytes = n, up to 9999: results of up to n bytes travel in the notification.
-- The triggers have no `when`: the server prepares such a condition for each statement, which took 10 us. A call of
-- this function that returns at once takes 5 us.
-- security invoker, a fixed search_path and qualified names keep a writer from having a function of its own called
-- here.
create or replace function @schema@.kojin_results_notify() returns pg_catalog.trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  payloads constant pg_catalog.text := pg_catalog.current_setting('kojin.payload'::pg_catalog.text, true);
  inline_setting constant pg_catalog.text := pg_catalog.current_setting('kojin.inline_bytes'::pg_catalog.text, true);
  entries pg_catalog.text[];
begin
  if pg_catalog.current_setting('kojin.notify'::pg_catalog.text, true) operator(pg_catalog.=) 'off' then
    return null;
  end if;
  if payloads operator(pg_catalog.<>) '' and pg_catalog.pg_trigger_depth() operator(pg_catalog.=) 1 then
    -- An upsert fires both triggers; the one for INSERT has sent the payloads.
    if tg_op operator(pg_catalog.=) 'UPDATE' then
      return null;
    end if;
    -- The usual case. Splitting the lines took 10 us.
    if pg_catalog.strpos(payloads, pg_catalog.chr(10)) operator(pg_catalog.=) 0 and pg_catalog.octet_length(payloads) operator(pg_catalog.<) 8000 then
      perform pg_catalog.pg_notify(tg_argv[0], payloads);
      return null;
    end if;
    perform pg_catalog.pg_notify(
      tg_argv[0],
      case when pg_catalog.octet_length(payload) operator(pg_catalog.<) 8000 then payload else '{"v":1,"rescan":true}'::pg_catalog.text end
    )
    from pg_catalog.string_to_table(payloads, pg_catalog.chr(10)) as payload;
    return null;
  end if;
  if inline_setting operator(pg_catalog.<>) '' and pg_catalog.octet_length(inline_setting) operator(pg_catalog.<=) 4
    and pg_catalog.translate(inline_setting, '0123456789'::pg_catalog.text, ''::pg_catalog.text) operator(pg_catalog.=) ''
  then
    declare
      inline_bytes constant int := inline_setting::int;
      -- Matches numbers that are short in jsonb and long as text: 1 KB of them can be 540 MB of text. Such a result is
      -- not sent inline, and is not converted to text.
      long_numbers constant pg_catalog.jsonpath :=
        'strict $.** ? (@ > 1e100 || @ < -1e100 || (@ < 1e-100 && @ > -1e-100 && @ != 0))'::pg_catalog.jsonpath;
    begin
      -- Quoting can double the length of a result. If it no longer fits, only the id is sent, so that listeners need
      -- not re-read everything.
      entries := array(
        select
          case
            when pg_catalog.octet_length(inline_entry) operator(pg_catalog.<=) 7900 then inline_entry
            else pg_catalog.to_json(task_id::pg_catalog.text)::pg_catalog.text
          end
        from (
          select
            task_id,
            case
              -- jsonb is at most six times as large as its text: in `[1,1]` each number takes about 3 bytes, and 16 in
              -- jsonb.
              when pg_catalog.pg_column_size(result) operator(pg_catalog.+) coalesce(pg_catalog.pg_column_size(error), 0)
                operator(pg_catalog.>) (inline_bytes operator(pg_catalog.*) 6 operator(pg_catalog.+) 64) then null
              when pg_catalog.jsonb_path_exists(result, long_numbers, '{}'::pg_catalog.jsonb, true)
                or coalesce(pg_catalog.jsonb_path_exists(error, long_numbers, '{}'::pg_catalog.jsonb, true), false) then null
              when pg_catalog.isfinite(stored_at) and pg_catalog.octet_length(result::pg_catalog.text)
                operator(pg_catalog.+) pg_catalog.octet_length(coalesce(error::pg_catalog.text, ''::pg_catalog.text)) operator(pg_catalog.<=) inline_bytes
              then pg_catalog.json_build_array(
                task_id, result::pg_catalog.text, error::pg_catalog.text,
                (extract(epoch from stored_at) operator(pg_catalog.*) 1000000::numeric)::bigint, stored_xid::pg_catalog.text::bigint
              )::pg_catalog.text
            end as inline_entry
          from new_rows
          limit 5001
        ) as sized
      );
    end;
  else
    entries := array(select pg_catalog.to_json(task_id::pg_catalog.text)::pg_catalog.text from new_rows limit 5001);
  end if;
  -- One of the two triggers of an upsert may have no rows. Then it must not notify, since NOTIFY takes a cluster-wide
  -- lock.
  if pg_catalog.cardinality(entries) operator(pg_catalog.=) 1 and pg_catalog.octet_length(entries[1]) operator(pg_catalog.<=) 7900 then
    perform pg_catalog.pg_notify(
      tg_argv[0], '{"v":1,"ids":['::pg_catalog.text operator(pg_catalog.||) entries[1] operator(pg_catalog.||) ']}'::pg_catalog.text
    );
  elsif pg_catalog.cardinality(entries) operator(pg_catalog.>) 0 then
    perform @schema@.kojin_announce(tg_argv[0], 'ids'::pg_catalog.text, entries);
  end if;
  return null;
end
$$;

-- For writers that know only the crate's columns. Their update is a new outcome and a success, so it gets a new time
-- and transaction number, and loses the old error and trace context. If a writer sets only stored_at, it still gets the
-- transaction number. Writers that set both do not call this function, since the trigger checks for that first.
create or replace function @schema@.kojin_results_foreign_update() returns pg_catalog.trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  new.stored_xid := pg_catalog.pg_current_xact_id();
  if new.stored_at operator(pg_catalog.<>) old.stored_at then
    return new;
  end if;
  new.stored_at := pg_catalog.clock_timestamp();
  if (new.error is null and old.error is null) or new.error operator(pg_catalog.=) old.error then
    new.error := null;
  end if;
  if (new.trace_context is null and old.trace_context is null) or new.trace_context operator(pg_catalog.=) old.trace_context then
    new.trace_context := null;
  end if;
  return new;
end
$$;

-- @step Triggers of kojin_results
-- Two triggers, since a trigger with a transition table can serve only one event.
create or replace trigger kojin_results_notify_insert after insert on @schema@.kojin_results
referencing new table as new_rows for each statement execute function @schema@.kojin_results_notify(@channel@);

create or replace trigger kojin_results_notify_update after update on @schema@.kojin_results
referencing new table as new_rows for each statement execute function @schema@.kojin_results_notify(@channel@);

create or replace trigger kojin_results_foreign_update before update of result on @schema@.kojin_results
for each row when (
  coalesce(new.stored_at operator(pg_catalog.=) old.stored_at, true) or coalesce(new.stored_xid operator(pg_catalog.=) old.stored_xid, true)
)
execute function @schema@.kojin_results_foreign_update();

-- @step Functions that store
-- Fails a statement that began, or received its locks, after its client had given up. Such a statement may arrive long
-- after its call was rejected, or after a later value was acknowledged. lib/database/sql-states.ts has the same code.
create or replace function @schema@.kojin_late() returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception using
    errcode = 'KJ001',
    message = 'The statement arrived after its client had given up.',
    hint = 'It changed nothing. If this happens often, the clock of the server is being set, or connections reach servers with different clocks.';
end
$$;

-- Fails a statement at or after a time in seconds since 1970.
create or replace function @schema@.kojin_check_due(due double precision) returns pg_catalog.void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if pg_catalog.clock_timestamp() operator(pg_catalog.>=) pg_catalog.to_timestamp(due) then
    perform @schema@.kojin_late();
  end if;
end
$$;

-- Ends a statement whose rows fail alone. The commit waits at most commit_lock_ms for the notification lock. Fails if
-- the client has given up: at the time give_up, or one second after it cancelled the statement.
create or replace function @schema@.kojin_end_each(
  give_up double precision, cancelled_at timestamp with time zone, commit_lock_ms int
) returns pg_catalog.void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_catalog.set_config('lock_timeout'::pg_catalog.text, commit_lock_ms::pg_catalog.text, true);
  if pg_catalog.clock_timestamp() operator(pg_catalog.>=) least(
    pg_catalog.to_timestamp(give_up), cancelled_at operator(pg_catalog.+) '750 milliseconds'::interval
  ) then
    perform @schema@.kojin_late();
  end if;
end
$$;

-- Stores one row for kojin_store_each, and returns true if it was written. A row is not written if it was stored again
-- after the call, or if is_kept and it has a result.
--
-- called_at and due are seconds since 1970 on the server's clock: the latest time at which the call can have been made,
-- and the earliest time at which its client gives up. A stored row with a future or infinite time does not count as
-- newer, since its clock was wrong. '' means no failure or no span, and a negative ttl_ms means no time to live: with
-- array_nulls = off, a session cannot put null into an array parameter.
create or replace function @schema@.kojin_store_row(
  id pg_catalog.text, value pg_catalog.text, failure pg_catalog.text, ttl_ms double precision, trace pg_catalog.text, is_kept boolean,
  called_at double precision, due double precision
) returns boolean
language plpgsql
as $$
declare
  is_stored boolean;
begin
  perform @schema@.kojin_check_due(due);
  insert into @schema@.kojin_results as stored (task_id, result, error, stored_at, expires_at, trace_context)
  values (
    id, value::pg_catalog.jsonb, case when failure operator(pg_catalog.<>) '' then failure end::pg_catalog.jsonb, pg_catalog.clock_timestamp(),
    pg_catalog.clock_timestamp() operator(pg_catalog.+) (case when ttl_ms operator(pg_catalog.>=) 0 then ttl_ms end operator(pg_catalog.*) '1 millisecond'::interval),
    case when trace operator(pg_catalog.<>) '' then trace end
  )
  on conflict (task_id) do update
    set result = excluded.result, error = excluded.error, stored_at = pg_catalog.clock_timestamp(), stored_xid = pg_catalog.pg_current_xact_id(),
      expires_at = excluded.expires_at, trace_context = excluded.trace_context
    where case
      when is_kept then stored.expires_at operator(pg_catalog.<=) pg_catalog.clock_timestamp()
      else stored.stored_at operator(pg_catalog.<=) pg_catalog.to_timestamp(called_at) or stored.stored_at operator(pg_catalog.>) pg_catalog.clock_timestamp()
    end;
  is_stored := found;
  -- Checked again, since waiting for the row lock may have taken long.
  if is_stored then
    perform @schema@.kojin_check_due(due);
  end if;
  return is_stored;
end
$$;

-- Stores rows so that each fails alone. Used after a statement for all rows has failed, or may have. The arrays have
-- equal length, are sorted by id, and have the meanings of kojin_store_row. give_up is the time at which the client
-- gives up on the statement. Returns a row with its state for each row that failed, and a row without one for each that
-- was written.
--
-- Unless one_by_one is set, the rows are first stored without a subtransaction each, which is cheaper and usually
-- succeeds. Waits at most row_lock_ms for a row lock, and at most 1 ms once lock_budget_ms have been spent on such
-- waits. The commit waits at most commit_lock_ms for the notification lock. Without notifies, no notification is sent.
-- A cancelled statement ends within a second, and has then stored either the rows it reports or nothing.
--
-- No search_path is set, so that triggers of the application run with that of the session, as in any other statement
-- that stores.
create or replace function @schema@.kojin_store_each(
  ids pg_catalog.text[], vals pg_catalog.text[], failures pg_catalog.text[], ttls double precision[], traces pg_catalog.text[], keeps boolean[],
  called double precision[], dues double precision[], give_up double precision, one_by_one boolean, row_lock_ms int, lock_budget_ms int, commit_lock_ms int,
  notifies boolean
) returns table (
  place int, state pg_catalog.text, message pg_catalog.text, detail pg_catalog.text, hint pg_catalog.text, context pg_catalog.text,
  schema_name pg_catalog.text, table_name pg_catalog.text, column_name pg_catalog.text, type_name pg_catalog.text, constraint_name pg_catalog.text
)
language plpgsql
as $$
declare
  is_done boolean := false;
  lock_left_ms int := lock_budget_ms;
  cancelled_at timestamp with time zone := 'infinity'::timestamp with time zone;
  places int[] := '{}'::int[];
begin
  perform
    pg_catalog.set_config('kojin.notify'::pg_catalog.text, case when notifies then ''::pg_catalog.text else 'off'::pg_catalog.text end, true),
    pg_catalog.set_config('kojin.payload'::pg_catalog.text, ''::pg_catalog.text, true),
    pg_catalog.set_config('lock_timeout'::pg_catalog.text, row_lock_ms::pg_catalog.text, true);
  if not one_by_one then
    begin
      for i in 1 .. pg_catalog.cardinality(ids) loop
        if @schema@.kojin_store_row(ids[i], vals[i], failures[i], ttls[i], traces[i], keeps[i], called[i], dues[i]) then
          places := pg_catalog.array_append(places, i);
        end if;
      end loop;
      is_done := true;
    exception when query_canceled or others then
      if sqlstate operator(pg_catalog.=) '57014'::pg_catalog.text then
        cancelled_at := pg_catalog.clock_timestamp();
      end if;
      places := '{}'::int[];
    end;
  end if;
  if not is_done then
    for i in 1 .. pg_catalog.cardinality(ids) loop
      -- After a cancellation, continue only briefly: the cause may be a row, or a client that is shutting down.
      if pg_catalog.clock_timestamp() operator(pg_catalog.>) (cancelled_at operator(pg_catalog.+) '250 milliseconds'::interval) then
        place := i;
        state := '57014';
        message := 'The statement was cancelled before this row.';
        return next;
        continue;
      end if;
      begin
        if @schema@.kojin_store_row(ids[i], vals[i], failures[i], ttls[i], traces[i], keeps[i], called[i], dues[i]) then
          places := pg_catalog.array_append(places, i);
        end if;
      exception when query_canceled or others then
        get stacked diagnostics
          state = returned_sqlstate, message = message_text, detail = pg_exception_detail, hint = pg_exception_hint, context = pg_exception_context,
          schema_name = schema_name, table_name = table_name, column_name = column_name, type_name = pg_datatype_name, constraint_name = constraint_name;
        place := i;
        return next;
        if state operator(pg_catalog.=) '57014'::pg_catalog.text then
          cancelled_at := least(cancelled_at, pg_catalog.clock_timestamp());
        elsif state operator(pg_catalog.=) '55P03'::pg_catalog.text then
          lock_left_ms := lock_left_ms operator(pg_catalog.-) row_lock_ms;
          if lock_left_ms operator(pg_catalog.<=) 0 then
            perform pg_catalog.set_config('lock_timeout'::pg_catalog.text, '1'::pg_catalog.text, true);
          end if;
        end if;
      end;
    end loop;
  end if;
  perform @schema@.kojin_end_each(give_up, cancelled_at, commit_lock_ms);
  return query
    select written, null::pg_catalog.text, null::pg_catalog.text, null::pg_catalog.text, null::pg_catalog.text, null::pg_catalog.text,
      null::pg_catalog.text, null::pg_catalog.text, null::pg_catalog.text, null::pg_catalog.text, null::pg_catalog.text
    from pg_catalog.unnest(places) as written;
end
$$;
