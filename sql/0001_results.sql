-- Results of tasks. The first four columns are those of the Rust crate kojin-postgres 0.4: a table that it made is
-- adopted with its rows, and it goes on reading and writing.
--
-- The runner puts the quoted schema in the place of @schema@ and sets search_path to pg_catalog, pg_temp. Every name is
-- qualified nevertheless. "@step" begins a transaction of its own, which locks one existing table at most; "@index" a
-- single index, which is built concurrently where its table is large; "@batches" names a function that is called for
-- one page of rows after another. A step that was interrupted runs again, so each may run twice.

-- @step Tables of results
create table if not exists @schema@.kojin_results (
  task_id pg_catalog.text primary key,
  result pg_catalog.jsonb not null,
  created_at timestamp with time zone default pg_catalog.now(),
  expires_at timestamp with time zone
);

-- @step Columns of kojin_results
-- error: why the task failed, as {"name", "message", "code", "details", "cause"}; null for a success. A failed row has
-- the result 'null'.
-- trace_context: the span that stored this outcome, as a W3C traceparent; only where the writer traces.
-- stored_at: when this outcome was written, also when it replaced an earlier one (created_at stays).
-- stored_xid: the transaction that wrote this outcome. Streams catch up by it, in the order of commits. Null for rows
-- that are older than the column, and for rows that came from another cluster, whose transaction numbers mean nothing
-- here; streams never show those as new.
alter table @schema@.kojin_results
  add column if not exists error pg_catalog.jsonb,
  add column if not exists trace_context pg_catalog.text,
  add column if not exists stored_at timestamp with time zone not null default pg_catalog.now(),
  add column if not exists stored_xid pg_catalog.xid8;

-- Two statements: a volatile default in the first would rewrite a table that is already full. From here on it is the
-- time of the write, not that of the start of a transaction, which may be long past.
alter table @schema@.kojin_results
  alter column stored_at set default pg_catalog.clock_timestamp(),
  alter column stored_xid set default pg_catalog.pg_current_xact_id();

-- @index idx_kojin_results_expires on kojin_results
-- Serves the deletion of expired rows. Name and definition are the crate's.
create index if not exists idx_kojin_results_expires on @schema@.kojin_results (expires_at) where expires_at is not null;

-- @index kojin_results_stored_at on kojin_results
-- Serves the read of what was stored since a given time, once for each stream, before it has a snapshot to begin with.
create index if not exists kojin_results_stored_at on @schema@.kojin_results using brin (stored_at) with (autosummarize = on);

-- @index kojin_results_stored_xid on kojin_results
-- Serves the read of what was committed since a snapshot. btree: brin has no operators for xid8, and where pruning has
-- left room in old pages it reads nearly all of the table. A store takes the server the same time with either (40 us
-- for one row, 16 us for each of many).
create index if not exists kojin_results_stored_xid on @schema@.kojin_results (stored_xid) where stored_xid is not null;

-- @step Functions of results
-- Announces entries, each the JSON of an id (or of an id with what belongs to it), on a channel, under a name. As few
-- payloads as fit: a payload has at most 7999 bytes, and one that is longer would fail the write. Chunks of 6500 bytes
-- with entries of up to 1000 stay below that; a longer entry travels alone, and one that fits nowhere tells listeners
-- to look for themselves. So do more than 5000 entries, which a restore may bring.
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
  -- What nearly always comes: everything fits one payload.
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

-- Announces the rows of one statement: ids, never results, since every role that can connect may listen. Reads three
-- settings, which a session may have set to anything, and none of which can fail the write:
--   kojin.notify = 'off' leaves announcements to the writer.
--   kojin.payload holds the payloads, one a line, of a statement that knows all its rows. They are notified as they
--   are, but not for the statements that other triggers run within that one, whose rows they do not name.
--   kojin.inline_bytes = n, up to 9999, lets results of up to n bytes travel along.
-- The triggers have no condition: the server prepares one anew for each statement, which took 10 us, and a call of this
-- function that returns at once takes 5.
-- security invoker, a fixed search_path and qualified names: a writer must not be able to slip in a function of its
-- own.
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
    -- An upsert fires both triggers.
    if tg_op operator(pg_catalog.=) 'UPDATE' then
      return null;
    end if;
    -- What nearly always comes: to take lines apart took 10 us.
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
      -- Numbers that take few bytes in jsonb, and many as text: 1 KB of them may be 540 MB. Such a result does not
      -- travel, and its text is not made.
      long_numbers constant pg_catalog.jsonpath :=
        'strict $.** ? (@ > 1e100 || @ < -1e100 || (@ < 1e-100 && @ > -1e-100 && @ != 0))'::pg_catalog.jsonpath;
    begin
      -- A result full of quotes may fit, and be too long once it is quoted again: then the id alone, rather than a
      -- rescan for every listener.
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
              -- At the most six times as large as its text: `[1,1]` has 3 bytes for each number, and jsonb takes 16.
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
  -- Where none or all of the rows of an upsert were there, one of its triggers has none. A NOTIFY takes a lock of the
  -- whole cluster: not for nothing.
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

-- For writers that know only the crate's columns: an update by them is a new outcome, and a success, so it gets a time
-- and loses an old error, and what stored the outcome before. A writer that sets a time of its own, whatever it is,
-- still leaves the number of its transaction. Writers that know the others set stored_at and stored_xid, and cost
-- nothing here: the condition of the trigger is checked without calling the function.
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
-- Two triggers, since one with a transition table serves one event only.
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
-- Ends a statement that began, or got its locks, after its client had given it up. Such a statement may arrive long
-- after its call was rejected, or after a later value was acknowledged. The code is known to
-- lib/database/sql-states.ts.
create or replace function @schema@.kojin_late() returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception using
    errcode = 'KJ001',
    message = 'The statement came after its client had given it up.',
    hint = 'It changed nothing. If this is seen often, the clock of the server is being set, or connections lead to servers with different clocks.';
end
$$;

-- Stores one row of kojin_store_each; returns whether it was written. A row that is not written was stored again after
-- the call, or is kept.
--
-- called_at and due are seconds since 1970 on the server's clock: the latest time at which the call can have been made,
-- and the earliest at which its client gives up. A row with a time in the future, or an infinite one, does not count as
-- newer: its clock was wrong. For no failure and no span '' may stand, and for no ttl_ms a negative number: with
-- array_nulls = off, a session cannot put null into an array of parameters.
create or replace function @schema@.kojin_store_row(
  id pg_catalog.text, value pg_catalog.text, failure pg_catalog.text, ttl_ms double precision, trace pg_catalog.text, is_kept boolean,
  called_at double precision, due double precision
) returns boolean
language plpgsql
as $$
declare
  is_stored boolean;
begin
  if pg_catalog.clock_timestamp() operator(pg_catalog.>=) pg_catalog.to_timestamp(due) then
    perform @schema@.kojin_late();
  end if;
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
  -- Again, since waiting for the lock of the row may have taken long.
  if is_stored and pg_catalog.clock_timestamp() operator(pg_catalog.>=) pg_catalog.to_timestamp(due) then
    perform @schema@.kojin_late();
  end if;
  return is_stored;
end
$$;

-- Stores rows so that each fails alone; used where a statement for all of them has failed, or may have. Arrays of equal
-- length, sorted by the id, as for kojin_store_row; give_up is the time at which the client gives up the statement.
-- Returns a row for each row that failed, and one without a state for each that was written.
--
-- Rows are first stored without a subtransaction each, unless one_by_one: that is cheap, and most likely all of them
-- are good. Waits for the lock of a row for row_lock_ms at most, and no longer than a millisecond each once
-- lock_budget_ms have been waited for in vain; for the lock of the notification, which the commit takes, for
-- commit_lock_ms. Without notifies nothing is announced. A statement that is cancelled ends within a second, with what
-- it has stored, or with nothing.
--
-- Without a search_path of its own: triggers of others run with that of the session, as they do for any other statement
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
      -- Rows that are left go on for a moment only: the client may have cancelled the statement because it ends, and
      -- not because of a row.
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
  perform pg_catalog.set_config('lock_timeout'::pg_catalog.text, commit_lock_ms::pg_catalog.text, true);
  -- A client that has cancelled the statement waits a second for its end.
  if pg_catalog.clock_timestamp() operator(pg_catalog.>=) least(
    pg_catalog.to_timestamp(give_up), cancelled_at operator(pg_catalog.+) '750 milliseconds'::interval
  ) then
    perform @schema@.kojin_late();
  end if;
  return query
    select written, null::pg_catalog.text, null::pg_catalog.text, null::pg_catalog.text, null::pg_catalog.text, null::pg_catalog.text,
      null::pg_catalog.text, null::pg_catalog.text, null::pg_catalog.text, null::pg_catalog.text, null::pg_catalog.text
    from pg_catalog.unnest(places) as written;
end
$$;
