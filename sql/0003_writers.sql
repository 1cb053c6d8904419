-- Functions for writers in any language; docs/sql.md is their reference. They run with the rights of their caller.
-- 0001_results.sql explains the markers and @schema@.

-- @step Functions for writers in any language
-- Fails for an id that readers could not ask for.
create or replace function @schema@.kojin_check_id(id pg_catalog.text, what pg_catalog.text) returns pg_catalog.void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if (pg_catalog.octet_length(id) operator(pg_catalog.>) 0 and pg_catalog.octet_length(id) operator(pg_catalog.<=) 512) is not true then
    raise exception using errcode = '22023', message = pg_catalog.concat(what, ': expected 1 to 512 bytes, got ', coalesce(pg_catalog.octet_length(id), 0), '.');
  end if;
end
$$;

-- Fails for a time to live after which nothing would be left. Null never expires.
create or replace function @schema@.kojin_check_ttl(ttl interval) returns pg_catalog.void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if ttl operator(pg_catalog.<=) '0'::interval then
    raise exception using errcode = '22023', message = pg_catalog.concat('ttl: expected more than 0, or null for never, got ', ttl, '.');
  end if;
end
$$;

-- Describes a failure in the form of the column `error`.
create or replace function @schema@.kojin_failure(message pg_catalog.text, name pg_catalog.text, details pg_catalog.jsonb) returns pg_catalog.jsonb
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  return pg_catalog.jsonb_build_object('name', coalesce(name, 'Error'), 'message', coalesce(message, ''))
    operator(pg_catalog.||) case when details is null then '{}'::pg_catalog.jsonb else pg_catalog.jsonb_build_object('details', details) end;
end
$$;

-- Stores a result, or replaces what is stored. A null result is stored as JSON null. A null ttl never expires.
-- No search_path is set, so that triggers of the application run with that of the session.
create or replace function @schema@.kojin_store(
  task_id pg_catalog.text, result pg_catalog.jsonb, ttl interval default '24 hours'::interval
) returns pg_catalog.void
language plpgsql
as $$
begin
  perform @schema@.kojin_store_outcome(task_id, coalesce(result, 'null'::pg_catalog.jsonb), null, ttl);
end
$$;

-- Stores the failure of a task.
create or replace function @schema@.kojin_fail(
  task_id pg_catalog.text, message pg_catalog.text, name pg_catalog.text default 'Error'::pg_catalog.text,
  details pg_catalog.jsonb default null, ttl interval default '24 hours'::interval
) returns pg_catalog.void
language plpgsql
as $$
begin
  perform @schema@.kojin_store_outcome(task_id, 'null'::pg_catalog.jsonb, @schema@.kojin_failure(message, name, details), ttl);
end
$$;

-- Stores a result, or a failure with the result 'null', for the functions above.
create or replace function @schema@.kojin_store_outcome(
  id pg_catalog.text, value pg_catalog.jsonb, failure pg_catalog.jsonb, ttl interval
) returns pg_catalog.void
language plpgsql
as $$
begin
  perform @schema@.kojin_check_id(id, 'task_id');
  perform @schema@.kojin_check_ttl(ttl);
  insert into @schema@.kojin_results as stored (task_id, result, error, stored_at, expires_at)
  values (id, value, failure, pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp() operator(pg_catalog.+) ttl)
  on conflict (task_id) do update
    set result = excluded.result, error = excluded.error, stored_at = pg_catalog.clock_timestamp(), stored_xid = pg_catalog.pg_current_xact_id(),
      expires_at = excluded.expires_at, trace_context = null;
end
$$;

-- Stores the result of a group's member, and returns the number of completed members. A null result is stored as JSON
-- null. Fails with KJ002 if the group does not declare the member or already has all its members.
create or replace function @schema@.kojin_complete_member(group_id pg_catalog.text, task_id pg_catalog.text, result pg_catalog.jsonb) returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  return @schema@.kojin_finish_member(group_id, task_id, coalesce(result, 'null'::pg_catalog.jsonb)::pg_catalog.text, '');
end
$$;

-- Stores the failure of a group's member, and returns the number of completed members.
create or replace function @schema@.kojin_fail_member(
  group_id pg_catalog.text, task_id pg_catalog.text, message pg_catalog.text, name pg_catalog.text default 'Error'::pg_catalog.text,
  details pg_catalog.jsonb default null
) returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  return @schema@.kojin_finish_member(group_id, task_id, '', @schema@.kojin_failure(message, name, details)::pg_catalog.text);
end
$$;

-- Finishes a member for the functions above. One of value and failure is ''.
create or replace function @schema@.kojin_finish_member(
  of_group pg_catalog.text, id pg_catalog.text, value pg_catalog.text, failure pg_catalog.text
) returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  finished record;
begin
  perform @schema@.kojin_check_id(of_group, 'group_id'), @schema@.kojin_check_id(id, 'task_id');
  select member.completed_count, member.conflict into finished
  from @schema@.kojin_finish_members(array[of_group], array[id], array[value], array[failure]) as member;
  if finished.conflict is not null then
    raise exception using errcode = 'KJ002', message = case
      when finished.conflict operator(pg_catalog.=) 'members'::pg_catalog.text then pg_catalog.concat('Task ', id, ' is not a declared member of group ', of_group, '.')
      else pg_catalog.concat('Task ', id, ' cannot join group ', of_group, ': all of its members have finished.')
    end;
  end if;
  return finished.completed_count;
end
$$;
