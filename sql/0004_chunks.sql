-- Chunks that running tasks emit. 0001_results.sql explains the markers and @schema@.

-- @step Tables of chunks
-- One row per task that is expected or has emitted, with the number of its latest chunk. Numbers are given under its
-- lock, so they follow commit order. The fillfactor leaves room for the frequent updates.
create table if not exists @schema@.kojin_streams (
  task_id pg_catalog.text primary key,
  -- 1 at first, and one more after each restart.
  attempt int not null default 1,
  -- Number of the latest chunk of this attempt; 0 if the task is only expected.
  sequence bigint not null default 0,
  -- When the stream expires, unless the task has a result: then it lives as long as the result.
  expires_at timestamp with time zone
) with (fillfactor = 50);

-- Serves the deletion of expired streams.
create index if not exists kojin_streams_expires on @schema@.kojin_streams (expires_at) where expires_at is not null;

-- The chunks of each task's current attempt.
-- call_id: identifies the call that emitted the chunk, so that a retry does not emit it again.
create table if not exists @schema@.kojin_chunks (
  task_id pg_catalog.text not null,
  attempt int not null,
  sequence bigint not null,
  chunk pg_catalog.jsonb not null,
  call_id pg_catalog.uuid,
  primary key (task_id, attempt, sequence)
);

-- @step Functions of chunks
-- Emits chunks. The arrays have equal length and hold the task, the chunk as JSON text, the id of the call or '',
-- whether the chunk starts another attempt, and the milliseconds to live or -1. Only the first chunk of a task may
-- start another attempt. Returns the number of each chunk, or null if its task already has a result. is_repeated: an
-- earlier statement may have emitted the chunks.
--
-- security definer, so that a role that emits needs no other right on the tables. Notifies without a trigger, since no
-- other function writes chunks.
create or replace function @schema@.kojin_emit_chunks(
  task_ids pg_catalog.text[], chunks pg_catalog.text[], call_ids pg_catalog.text[], restarts boolean[], ttls double precision[], is_repeated boolean
) returns table (place int, sequence bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_variable
declare
  present constant timestamp with time zone := pg_catalog.clock_timestamp();
  finished pg_catalog.text[];
  expired pg_catalog.text[];
  numbers bigint[];
begin
  select
    pg_catalog.array_agg(result.task_id::pg_catalog.text)
      filter (where result.expires_at is null or result.expires_at operator(pg_catalog.>) present),
    pg_catalog.array_agg(result.task_id::pg_catalog.text) filter (where result.expires_at operator(pg_catalog.<=) present)
  into finished, expired
  from @schema@.kojin_results as result
  where result.task_id operator(pg_catalog.=) any (task_ids);
  finished := coalesce(finished, '{}'::pg_catalog.text[]);
  -- An expired result counts as absent. Its stream goes with it.
  if expired is not null then
    delete from @schema@.kojin_results as result
    where result.task_id operator(pg_catalog.=) any (expired) and result.expires_at operator(pg_catalog.<=) present;
  end if;
  -- Under the lock of its task, an earlier statement has either committed its chunks or never will.
  if is_repeated then
    insert into @schema@.kojin_streams (task_id, expires_at)
    select distinct given.id, present operator(pg_catalog.+) '1 day'::interval
    from pg_catalog.unnest(task_ids) as given (id)
    order by given.id
    on conflict (task_id) do nothing;
    perform from @schema@.kojin_streams as stream
    where stream.task_id operator(pg_catalog.=) any (task_ids)
    order by stream.task_id
    for update;
    -- Only among the latest chunks, since call_id has no index. While a call is retried, no more than these follow it.
    with written as materialized (
      select chunk.task_id, chunk.call_id::pg_catalog.text as call_id, chunk.sequence
      from @schema@.kojin_streams as stream
      join @schema@.kojin_chunks as chunk
        on chunk.task_id operator(pg_catalog.=) stream.task_id and chunk.attempt operator(pg_catalog.=) stream.attempt
          and chunk.sequence operator(pg_catalog.>) (stream.sequence operator(pg_catalog.-) 10000)
      where stream.task_id operator(pg_catalog.=) any (task_ids) and chunk.call_id::pg_catalog.text operator(pg_catalog.=) any (call_ids)
    )
    select pg_catalog.array_agg(written.sequence order by input.place)
    into numbers
    from rows from (pg_catalog.unnest(task_ids), pg_catalog.unnest(call_ids)) with ordinality as input (task_id, call_id, place)
    left join written on written.task_id operator(pg_catalog.=) input.task_id and written.call_id operator(pg_catalog.=) input.call_id;
  end if;
  insert into @schema@.kojin_streams as stream (task_id, attempt, sequence, expires_at)
  select
    input.task_id, case when pg_catalog.bool_or(input.restart) then 2 else 1 end, pg_catalog.count(*),
    case when pg_catalog.min(input.ttl_ms) operator(pg_catalog.>=) 0::double precision
      then present operator(pg_catalog.+) (pg_catalog.max(input.ttl_ms) operator(pg_catalog.*) '1 millisecond'::interval) end
  from rows from (
    pg_catalog.unnest(task_ids), pg_catalog.unnest(restarts), pg_catalog.unnest(ttls), pg_catalog.unnest(numbers)
  ) as input (task_id, restart, ttl_ms, number)
  where input.number is null and input.task_id operator(pg_catalog.<>) all (finished)
  group by input.task_id
  order by input.task_id
  on conflict (task_id) do update
    set
      attempt = case
        when excluded.attempt operator(pg_catalog.>) 1 or stream.expires_at operator(pg_catalog.<=) present then stream.attempt operator(pg_catalog.+) 1
        else stream.attempt
      end,
      sequence = case
        when excluded.attempt operator(pg_catalog.>) 1 or stream.expires_at operator(pg_catalog.<=) present then excluded.sequence
        else stream.sequence operator(pg_catalog.+) excluded.sequence
      end,
      -- Moved only by a tenth of the time to live or more. Most updates then change no index.
      expires_at = case
        when stream.expires_at operator(pg_catalog.<=) excluded.expires_at and stream.expires_at operator(pg_catalog.>)
          (excluded.expires_at operator(pg_catalog.-) ((excluded.expires_at operator(pg_catalog.-) present) operator(pg_catalog./) 10::double precision))
        then stream.expires_at
        else excluded.expires_at
      end;
  return query
  with given as (
    select
      input.place, input.task_id, input.chunk, input.call_id, input.is_new, stream.attempt,
      case
        when input.is_new then stream.sequence
          operator(pg_catalog.-) pg_catalog.count(*) over (partition by input.task_id, input.is_new)
          operator(pg_catalog.+) pg_catalog.row_number() over (partition by input.task_id, input.is_new order by input.place)
        else input.number
      end as number
    from (
      select listed.*, listed.number is null and listed.task_id operator(pg_catalog.<>) all (finished) as is_new
      from rows from (
        pg_catalog.unnest(task_ids), pg_catalog.unnest(chunks), pg_catalog.unnest(call_ids), pg_catalog.unnest(numbers)
      ) with ordinality as listed (task_id, chunk, call_id, number, place)
    ) as input
    left join @schema@.kojin_streams as stream on stream.task_id operator(pg_catalog.=) input.task_id
  ),
  dropped as (
    delete from @schema@.kojin_chunks as old
    using given
    where given.is_new and given.number operator(pg_catalog.=) 1
      and old.task_id operator(pg_catalog.=) given.task_id and old.attempt operator(pg_catalog.<) given.attempt
  ),
  added as (
    insert into @schema@.kojin_chunks (task_id, attempt, sequence, chunk, call_id)
    select
      given.task_id, given.attempt, given.number, given.chunk::pg_catalog.jsonb,
      case when given.call_id operator(pg_catalog.<>) '' then given.call_id end::pg_catalog.uuid
    from given
    where given.is_new
  )
  select given.place::int, given.number from given order by given.place;
  if coalesce(pg_catalog.current_setting('kojin.notify'::pg_catalog.text, true), ''::pg_catalog.text) operator(pg_catalog.<>) 'off'::pg_catalog.text then
    perform @schema@.kojin_announce(@channel@, 'chunks'::pg_catalog.text, array(
      select pg_catalog.to_json(given.id)::pg_catalog.text
      from (select distinct listed.id from pg_catalog.unnest(task_ids) as listed (id)) as given
    ));
  end if;
end
$$;

-- Emits chunks so that each fails alone. Used after a statement for all chunks has failed, or may have emitted them.
-- The arrays have equal length and the meanings of kojin_emit_chunks; the chunks of a task are adjacent. dues holds the
-- times in seconds since 1970 after which a chunk must not be emitted. kojin_store_each explains the other parameters
-- and the columns that describe a failure.
--
-- After a failure that may pass, the later chunks of the same task fail in the same way, so that they keep their order.
create or replace function @schema@.kojin_emit_each(
  task_ids pg_catalog.text[], chunks pg_catalog.text[], call_ids pg_catalog.text[], restarts boolean[], ttls double precision[], dues double precision[],
  give_up double precision, one_by_one boolean, row_lock_ms int, lock_budget_ms int, commit_lock_ms int, notifies boolean
) returns table (
  place int, sequence bigint,
  state pg_catalog.text, message pg_catalog.text, detail pg_catalog.text, hint pg_catalog.text, context pg_catalog.text,
  schema_name pg_catalog.text, table_name pg_catalog.text, column_name pg_catalog.text, type_name pg_catalog.text, constraint_name pg_catalog.text
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  is_done boolean := false;
  lock_left_ms int := lock_budget_ms;
  numbers bigint[];
  held_task pg_catalog.text;
  cancelled_at timestamp with time zone := 'infinity'::timestamp with time zone;
begin
  perform
    pg_catalog.set_config('kojin.notify'::pg_catalog.text, case when notifies then ''::pg_catalog.text else 'off'::pg_catalog.text end, true),
    pg_catalog.set_config('lock_timeout'::pg_catalog.text, row_lock_ms::pg_catalog.text, true);
  if not one_by_one then
    begin
      perform @schema@.kojin_check_due((select pg_catalog.min(due) from pg_catalog.unnest(dues) as due));
      select pg_catalog.array_agg(emitted.sequence order by emitted.place) into numbers
      from @schema@.kojin_emit_chunks(task_ids, chunks, call_ids, restarts, ttls, true) as emitted;
      perform @schema@.kojin_check_due((select pg_catalog.min(due) from pg_catalog.unnest(dues) as due));
      is_done := true;
    exception when query_canceled or others then
      if sqlstate operator(pg_catalog.=) '57014'::pg_catalog.text then
        cancelled_at := pg_catalog.clock_timestamp();
      end if;
    end;
  end if;
  for i in 1 .. pg_catalog.cardinality(task_ids) loop
    place := i;
    if is_done then
      sequence := numbers[i];
    elsif held_task operator(pg_catalog.=) task_ids[i] then
      -- Still has the failure of the previous chunk.
      sequence := null;
    elsif pg_catalog.clock_timestamp() operator(pg_catalog.>) (cancelled_at operator(pg_catalog.+) '250 milliseconds'::interval) then
      state := '57014';
      message := 'The statement was cancelled before this chunk.';
      held_task := task_ids[i];
      sequence := null;
    else
      state := null;
      begin
        perform @schema@.kojin_check_due(dues[i]);
        select emitted.sequence into sequence
        from @schema@.kojin_emit_chunks(task_ids[i : i], chunks[i : i], call_ids[i : i], restarts[i : i], ttls[i : i], true) as emitted;
        perform @schema@.kojin_check_due(dues[i]);
      exception when query_canceled or others then
        get stacked diagnostics
          state = returned_sqlstate, message = message_text, detail = pg_exception_detail, hint = pg_exception_hint, context = pg_exception_context,
          schema_name = schema_name, table_name = table_name, column_name = column_name, type_name = pg_datatype_name, constraint_name = constraint_name;
        sequence := null;
        if pg_catalog.left(state, 2) operator(pg_catalog.=) any (array['40', '53', '55', '57', '58', 'KJ', 'XX']::pg_catalog.text[]) then
          held_task := task_ids[i];
        end if;
        if state operator(pg_catalog.=) '57014'::pg_catalog.text then
          cancelled_at := least(cancelled_at, pg_catalog.clock_timestamp());
        elsif state operator(pg_catalog.=) '55P03'::pg_catalog.text then
          lock_left_ms := lock_left_ms operator(pg_catalog.-) row_lock_ms;
          if lock_left_ms operator(pg_catalog.<=) 0 then
            perform pg_catalog.set_config('lock_timeout'::pg_catalog.text, '1'::pg_catalog.text, true);
          end if;
        end if;
      end;
    end if;
    return next;
  end loop;
  perform @schema@.kojin_end_each(give_up, cancelled_at, commit_lock_ms);
end
$$;

-- Reads chunks of many tasks, all from one snapshot. The arrays have equal length and hold the task, and the attempt
-- and the number after which to read. Returns up to max_chunks rows for each task, or one without a chunk.
--
-- A function, because its plan is kept: planning takes three times as long as reading the next chunk of one task.
create or replace function @schema@.kojin_read_chunks(
  task_ids pg_catalog.text[], attempts int[], sequences bigint[], max_chunks int
) returns table (place int, attempt int, latest bigint, is_finished boolean, error pg_catalog.jsonb, sequence bigint, chunk pg_catalog.jsonb)
language plpgsql stable rows 100
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  -- The current time rather than that of the statement, which may have waited.
  present constant timestamp with time zone := pg_catalog.clock_timestamp();
begin
  return query
  select
    asked.place::int, coalesce(stream.attempt, 0), coalesce(stream.sequence, 0::bigint),
    result.task_id is not null and (result.expires_at is null or result.expires_at operator(pg_catalog.>) present),
    result.error, page.sequence, page.chunk
  from rows from (pg_catalog.unnest(task_ids), pg_catalog.unnest(attempts), pg_catalog.unnest(sequences))
    with ordinality as asked (task_id, attempt, sequence, place)
  left join @schema@.kojin_results as result on result.task_id operator(pg_catalog.=) asked.task_id
  left join @schema@.kojin_streams as stream
    on stream.task_id operator(pg_catalog.=) asked.task_id
      -- The stream of a task with a result lives as long as the result.
      and case when result.task_id is null then stream.expires_at is null or stream.expires_at operator(pg_catalog.>) present
        else result.expires_at is null or result.expires_at operator(pg_catalog.>) present end
  left join lateral (
    select next.sequence, next.chunk
    from @schema@.kojin_chunks as next
    where next.task_id operator(pg_catalog.=) stream.task_id and next.attempt operator(pg_catalog.=) stream.attempt
      and next.sequence operator(pg_catalog.>)
        case when stream.attempt operator(pg_catalog.=) asked.attempt then asked.sequence else 0::bigint end
    order by next.sequence
    limit max_chunks
  ) as page on true;
end
$$;

-- Emits one chunk, for writers in any language. Returns its number, or null if the task already has a result. A null
-- chunk is stored as JSON null, and a null ttl never expires. restart starts another attempt.
create or replace function @schema@.kojin_emit(
  task_id pg_catalog.text, chunk pg_catalog.jsonb, restart boolean default false, ttl interval default '24 hours'::interval
) returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform @schema@.kojin_check_id(task_id, 'task_id');
  perform @schema@.kojin_check_ttl(ttl);
  return (
    select emitted.sequence
    from @schema@.kojin_emit_chunks(
      array[task_id], array[coalesce(chunk, 'null'::pg_catalog.jsonb)::pg_catalog.text], array[''::pg_catalog.text], array[restart],
      array[coalesce(pg_catalog.date_part('epoch'::pg_catalog.text, ttl) operator(pg_catalog.*) 1000::double precision, '-1'::double precision)], false
    ) as emitted
  );
end
$$;

-- Marks a task as expected: readers can then tell that it exists before it has a result. Its stream has no chunks yet,
-- and lives and ends as any other stream. Does nothing if the task has a result, or is expected for longer.
--
-- security definer, so that a role that expects tasks needs no other right on the tables.
create or replace function @schema@.kojin_expect_task(id pg_catalog.text, ttl interval) returns pg_catalog.void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  present constant timestamp with time zone := pg_catalog.clock_timestamp();
begin
  -- An expired result counts as absent. Its stream goes with it.
  delete from @schema@.kojin_results as result
  where result.task_id operator(pg_catalog.=) id and result.expires_at operator(pg_catalog.<=) present;
  insert into @schema@.kojin_streams as stream (task_id, expires_at)
  select id, present operator(pg_catalog.+) ttl
  where not exists (select from @schema@.kojin_results as result where result.task_id operator(pg_catalog.=) id)
  on conflict (task_id) do update
    set
      -- Expired chunks are not revived: the next chunk begins another attempt.
      attempt = case
        when stream.expires_at operator(pg_catalog.<=) present and stream.sequence operator(pg_catalog.>) 0 then stream.attempt operator(pg_catalog.+) 1
        else stream.attempt
      end,
      sequence = case when stream.expires_at operator(pg_catalog.<=) present then 0 else stream.sequence end,
      expires_at = excluded.expires_at
    where stream.expires_at operator(pg_catalog.<) excluded.expires_at or (stream.expires_at is not null and excluded.expires_at is null);
end
$$;

-- Marks a task as expected, for writers in any language. A null ttl never expires.
create or replace function @schema@.kojin_expect(task_id pg_catalog.text, ttl interval default '24 hours'::interval) returns pg_catalog.void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform @schema@.kojin_check_id(task_id, 'task_id'), @schema@.kojin_check_ttl(ttl);
  perform @schema@.kojin_expect_task(task_id, ttl);
end
$$;

-- Deletes the streams of deleted results. security definer, since a role that deletes results has no right on streams.
create or replace function @schema@.kojin_results_deleted() returns pg_catalog.trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
  -- Locked in the order in which writers lock them, so that the two cannot deadlock.
  delete from @schema@.kojin_streams as stream
  where stream.task_id operator(pg_catalog.=) any (array(
    select locked.task_id
    from @schema@.kojin_streams as locked
    where locked.task_id operator(pg_catalog.=) any (array(select gone.task_id::pg_catalog.text from old_rows as gone))
    order by locked.task_id
    for update
  ));
  return null;
end
$$;

-- Deletes the streams of finished tasks before their results are truncated, which still tell them from running tasks.
--
-- Skips streams that another session has locked: to wait for one could be a deadlock, since TRUNCATE has locked the
-- results already. Functions that write chunks lock the results before a stream. Those that lock only streams delete
-- them, such as prune.
create or replace function @schema@.kojin_results_truncated() returns pg_catalog.trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  with locked as materialized (
    select finished.task_id
    from @schema@.kojin_streams as finished
    where exists (select from @schema@.kojin_results as result where result.task_id operator(pg_catalog.=) finished.task_id)
    for update skip locked
  )
  delete from @schema@.kojin_streams as stream
  using locked
  where stream.task_id operator(pg_catalog.=) locked.task_id;
  return null;
end
$$;

-- Deletes the chunks of deleted streams. A statement of its own sees all chunks that were emitted before the lock of
-- the stream was taken.
create or replace function @schema@.kojin_streams_deleted() returns pg_catalog.trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
  delete from @schema@.kojin_chunks as chunk
  where chunk.task_id operator(pg_catalog.=) any (array(select gone.task_id from old_rows as gone));
  return null;
end
$$;

-- Deletes all chunks after the streams were truncated. Not by TRUNCATE, which fails while a statement that truncates
-- both tables has them open.
create or replace function @schema@.kojin_streams_truncated() returns pg_catalog.trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  delete from @schema@.kojin_chunks;
  return null;
end
$$;

-- Deletes up to max_streams streams that expired at least older_than_ms ago, with their chunks, and returns their
-- number. Skips streams that another session has locked. A stream whose task has a result gets the expiry of that
-- result instead, so that it is not looked at again before then.
create or replace function @schema@.kojin_streams_prune(max_streams int, older_than_ms double precision) returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  latest constant timestamp with time zone :=
    pg_catalog.clock_timestamp() operator(pg_catalog.-) (older_than_ms operator(pg_catalog.*) '1 millisecond'::interval);
  expired pg_catalog.text[];
  deleted int;
  total int := 0;
begin
  loop
    expired := array(
      select stream.task_id
      from @schema@.kojin_streams as stream
      where stream.expires_at operator(pg_catalog.<=) latest
      order by stream.expires_at
      limit max_streams operator(pg_catalog.-) total
      for update skip locked
    );
    update @schema@.kojin_streams as stream
    set expires_at = result.expires_at
    from @schema@.kojin_results as result
    where stream.task_id operator(pg_catalog.=) any (expired) and result.task_id operator(pg_catalog.=) stream.task_id
      and (result.expires_at is null or result.expires_at operator(pg_catalog.>) latest);
    delete from @schema@.kojin_streams as stream
    where stream.task_id operator(pg_catalog.=) any (expired) and stream.expires_at operator(pg_catalog.<=) latest;
    get diagnostics deleted = row_count;
    total := total operator(pg_catalog.+) deleted;
    exit when total operator(pg_catalog.>=) max_streams or pg_catalog.cardinality(expired) operator(pg_catalog.=) 0;
  end loop;
  return total;
end
$$;

select @schema@.kojin_revoke_rights();

-- @step Triggers of kojin_streams
create or replace trigger kojin_streams_deleted after delete on @schema@.kojin_streams
referencing old table as old_rows for each statement execute function @schema@.kojin_streams_deleted();

create or replace trigger kojin_streams_truncated after truncate on @schema@.kojin_streams
for each statement execute function @schema@.kojin_streams_truncated();

-- @step Triggers of deleted results
create or replace trigger kojin_results_deleted after delete on @schema@.kojin_results
referencing old table as old_rows for each statement execute function @schema@.kojin_results_deleted();

create or replace trigger kojin_results_truncated before truncate on @schema@.kojin_results
for each statement execute function @schema@.kojin_results_truncated();
