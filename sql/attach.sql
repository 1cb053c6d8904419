-- Functions that `attachQueue` creates, and replaces each time. They are no migration: a schema to which no queue is
-- attached does without them. 0001_results.sql explains the markers and @schema@.
--
-- Other names between @ stand for what lib/attach/copy-functions.ts inserts: queries and conditions over the columns of
-- a row, `job`, made of the expressions that describe the table of a queue.

-- @step The form of a failure
-- Describes an error in the form that `fail` stores. Any JSON becomes a name and a message at least. Stacks are left
-- out, since they show paths. The other fields of an error are its details, unless it has details.
create or replace function @schema@.kojin_attached_failure(error pg_catalog.jsonb, max_bytes bigint, depth int) returns pg_catalog.jsonb
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  fields constant pg_catalog.text[] := array['name', 'message', 'code', 'details', 'cause'];
  -- A character takes up to four bytes.
  short_length constant int := greatest(least(max_bytes, 4000000) operator(pg_catalog./) 4, 192);
  failure pg_catalog.jsonb;
  details pg_catalog.jsonb;
  code constant pg_catalog.jsonb := error operator(pg_catalog.->) 'code'::pg_catalog.text;
  cause constant pg_catalog.jsonb := error operator(pg_catalog.->) 'cause'::pg_catalog.text;
  label constant pg_catalog.text := error operator(pg_catalog.->>) 'name'::pg_catalog.text;
begin
  if pg_catalog.jsonb_typeof(error) operator(pg_catalog.<>) 'object' then
    return pg_catalog.jsonb_build_object(
      'name', 'Error',
      'message', pg_catalog.left(error operator(pg_catalog.#>>) '{}'::pg_catalog.text[], short_length)
    );
  end if;
  failure := pg_catalog.jsonb_build_object(
    'name', case when label operator(pg_catalog.<>) '' then label else 'Error' end,
    'message', coalesce(
      error operator(pg_catalog.->>) 'message'::pg_catalog.text,
      (error operator(pg_catalog.-) 'stack'::pg_catalog.text)::pg_catalog.text
    )
  );
  if pg_catalog.jsonb_typeof(code) operator(pg_catalog.=) any (array['string', 'number']) then
    failure := failure operator(pg_catalog.||) pg_catalog.jsonb_build_object('code', code);
  end if;
  details := coalesce(
    error operator(pg_catalog.->) 'details'::pg_catalog.text,
    error operator(pg_catalog.-) (fields operator(pg_catalog.||) 'stack'::pg_catalog.text)
  );
  if details operator(pg_catalog.<>) all (array['{}', 'null']::pg_catalog.jsonb[])
    and error operator(pg_catalog.->) 'message'::pg_catalog.text is not null
  then
    failure := failure operator(pg_catalog.||) pg_catalog.jsonb_build_object('details', details);
  end if;
  if pg_catalog.jsonb_typeof(cause) operator(pg_catalog.<>) 'null' and depth operator(pg_catalog.<) 5 then
    failure := failure operator(pg_catalog.||)
      pg_catalog.jsonb_build_object('cause', @schema@.kojin_attached_failure(cause, max_bytes, depth operator(pg_catalog.+) 1));
  end if;
  if pg_catalog.pg_column_size(failure) operator(pg_catalog.>) greatest(max_bytes, 1024) then
    return pg_catalog.jsonb_build_object(
      'name', pg_catalog.left(failure operator(pg_catalog.->>) 'name'::pg_catalog.text, 100),
      'message', pg_catalog.left(failure operator(pg_catalog.->>) 'message'::pg_catalog.text, short_length)
    );
  end if;
  return failure;
end
$$;

-- @step Storing an outcome
-- Stores the result of a job, or its error, and returns true if it was written. Only an outcome that has expired is
-- replaced, unless `replaces` is true.
--
-- The transaction that calls it is the queue's own, so it neither waits for a row that another transaction has locked
-- nor notifies if the queue of notifications is nearly full, which would fail the commit. lock_timeout limits the waits
-- that cannot be skipped: for another transaction that is just storing the first result of the same task, and for a
-- lock on the whole table. It is 1 ms in a transaction in which a row has waited in vain. Both settings end with the
-- function.
create or replace function @schema@.kojin_attached_store(
  id pg_catalog.text, value pg_catalog.jsonb, problem pg_catalog.jsonb, ttl interval, max_bytes bigint, replaces boolean
) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
-- Whatever the role has set for its own results.
set kojin.notify = ''
as $$
declare
  failure pg_catalog.jsonb;
begin
  if pg_catalog.current_setting('kojin.attached_busy'::pg_catalog.text, true) operator(pg_catalog.=) 'on'::pg_catalog.text then
    perform pg_catalog.set_config('lock_timeout'::pg_catalog.text, '1'::pg_catalog.text, true);
  end if;
  perform @schema@.kojin_check_id(id, 'task_id');
  if problem is not null then
    failure := @schema@.kojin_attached_failure(problem, max_bytes, 0);
  elsif pg_catalog.pg_column_size(value) operator(pg_catalog.>) max_bytes then
    failure := pg_catalog.jsonb_build_object('name', 'ResultEncodingError', 'message', pg_catalog.concat(
      'The job has succeeded, but its result takes ', pg_catalog.pg_column_size(value), ' bytes, more than maxResultBytes (', max_bytes, ').'
    ));
  end if;
  -- Without a notification, a sweep finds the result.
  if pg_catalog.pg_notification_queue_usage() operator(pg_catalog.>) 0.9::double precision then
    perform pg_catalog.set_config('kojin.notify'::pg_catalog.text, 'off', true);
  end if;
  -- Most outcomes are the first of their task, for which one look is enough (135 instead of 150 us).
  if exists (select from @schema@.kojin_results where task_id operator(pg_catalog.=) id) then
    perform from @schema@.kojin_results where task_id operator(pg_catalog.=) id for no key update skip locked;
    if not found then
      -- Not 55P03, the code of a wait in vain.
      raise exception using errcode = '55006', message = 'Another transaction has locked the result of this task.';
    end if;
  end if;
  insert into @schema@.kojin_results as stored (task_id, result, error, stored_at, expires_at)
  values (
    id, case when failure is null then coalesce(value, 'null'::pg_catalog.jsonb) else 'null'::pg_catalog.jsonb end, failure,
    pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp() operator(pg_catalog.+) ttl
  )
  on conflict (task_id) do update
    set result = excluded.result, error = excluded.error, stored_at = pg_catalog.clock_timestamp(), stored_xid = pg_catalog.pg_current_xact_id(),
      expires_at = excluded.expires_at, trace_context = null
    where replaces or stored.expires_at operator(pg_catalog.<=) pg_catalog.clock_timestamp();
  return found;
end
$$;

-- @step Copying the outcome of a row
-- The function of the trigger. Any error is caught, except a cancellation, which is meant for the queue's own
-- statement. The block takes a transaction number only if an outcome is stored.
--
-- It runs with the rights of the role that writes the job. As `security definer` it would let the owner of the queue's
-- table run code as the owner of the function: through a cast that belongs to the type of a column.
--
-- The trigger has no `when` and no list of columns: the queue's own migrations could not change these columns then.
create or replace function @schema@.kojin_attached_copy_@table@() returns pg_catalog.trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  outcome record;
  earlier record;
  state pg_catalog.text;
  problem pg_catalog.text;
begin
  begin
    @outcome_of_new@
    into outcome;
    if not found then
      return null;
    end if;
    if tg_op operator(pg_catalog.=) 'UPDATE'::pg_catalog.text then
      @outcome_of_old@
      into earlier;
      -- The job had this outcome before.
      if found and pg_catalog.to_jsonb(earlier) operator(pg_catalog.=) pg_catalog.to_jsonb(outcome) then
        return null;
      end if;
    end if;
    perform @schema@.kojin_attached_store(outcome.task_id, outcome.result, outcome.error, @ttl@, @max_bytes@, true);
    return null;
  exception when others then
    get stacked diagnostics state = returned_sqlstate, problem = message_text;
  end;
  -- Data that jsonb cannot hold. The job is finished all the same, and waiting processes have to know.
  if pg_catalog.left(state, 2) operator(pg_catalog.=) any (array['22', '54']) then
    begin
      select @task_id@ as task_id, null::pg_catalog.jsonb as result,
        case when (@succeeded@)
          then '{"name": "ResultEncodingError", "message": "The job has succeeded, but its result cannot be stored: "}'::pg_catalog.jsonb
          else '{"name": "Error", "message": "The job has failed, and its error cannot be stored: "}'::pg_catalog.jsonb
        end as error
      from (select new.*) as job
      where (@succeeded@) or (@failed@)
      into outcome;
      if not found then
        return null;
      end if;
      outcome.error := outcome.error operator(pg_catalog.||) pg_catalog.jsonb_build_object(
        'message', pg_catalog.concat(outcome.error operator(pg_catalog.->>) 'message'::pg_catalog.text, problem)
      );
      perform @schema@.kojin_attached_store(outcome.task_id, outcome.result, outcome.error, @ttl@, @max_bytes@, true);
      return null;
    exception when others then
      get stacked diagnostics state = returned_sqlstate, problem = message_text;
    end;
  end if;
  -- Only the first row of the transaction waits for long and warns: a statement may finish thousands of jobs.
  if state operator(pg_catalog.=) '55P03'::pg_catalog.text then
    if pg_catalog.current_setting('kojin.attached_busy'::pg_catalog.text, true) operator(pg_catalog.=) 'on'::pg_catalog.text then
      return null;
    end if;
    perform pg_catalog.set_config('kojin.attached_busy'::pg_catalog.text, 'on'::pg_catalog.text, true);
  end if;
  raise warning 'kojin-postgres did not copy the outcome of a job of %.%: %', tg_table_schema, tg_table_name, problem
    using hint = 'Later, "kojin-postgres attach" copies what is missing.';
  return null;
end
$$;
