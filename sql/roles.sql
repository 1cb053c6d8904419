-- Three roles with only the rights that they need. This file is optional. Run it with any client after `migrate`, as
-- the owner of the schema or as a superuser, and again after each later migration. It may be run any number of times.
-- Replace public with your schema, and kojin_storer, kojin_waiter and kojin_janitor with your names. docs/security.md
-- lists what each role may do.
--
-- Grant your application's login the roles that it needs. For one that does everything:
-- grant kojin_storer, kojin_waiter, kojin_janitor to app;

begin;

-- Independent of the session: no name below is looked up in a schema where other roles may create objects.
set local search_path = pg_catalog, pg_temp;

-- Only this block needs the right to create roles. If you lack it, have the roles created beforehand.
do $$
declare
  wanted pg_catalog.text;
begin
  foreach wanted in array array['kojin_storer', 'kojin_waiter', 'kojin_janitor'] loop
    if not exists (select from pg_catalog.pg_roles where rolname operator(pg_catalog.=) wanted) then
      execute pg_catalog.format('create role %I nologin', wanted);
    end if;
  end loop;
end
$$;

grant usage on schema public to kojin_storer, kojin_waiter, kojin_janitor;

-- Removes what an earlier version of this file granted.
revoke all
on public.kojin_results, public.kojin_groups, public.kojin_group_state, public.kojin_streams, public.kojin_chunks, public.kojin_migrations
from kojin_storer, kojin_waiter, kojin_janitor;

-- Removes what default privileges or `grant all` gave to other roles: the functions, some of which run with the rights
-- of their owner, and TRIGGER on the tables. If your own role needs a function, grant it after running this file.
select public.kojin_revoke_rights();

-- All roles: check the version of the tables.
grant select (version, name) on public.kojin_migrations to kojin_storer, kojin_waiter, kojin_janitor;

-- Storer: stores results and failures of tasks. It can also read them, since an upsert with excluded.result requires
-- the right to select that column. Reads also need stored_xid.
grant
  select (task_id, result, error, stored_at, stored_xid, expires_at, trace_context),
  insert (task_id, result, error, stored_at, expires_at, trace_context),
  update (result, error, stored_at, stored_xid, expires_at, trace_context)
on public.kojin_results to kojin_storer;
-- The trigger calls it with the rights of the writer. By default every role has this right, but it may have been
-- revoked.
grant execute on function public.kojin_announce(pg_catalog.text, pg_catalog.text, pg_catalog.text[]) to kojin_storer;
-- Statements that store call these with the rights of the writer.
grant execute on function
  public.kojin_late(),
  public.kojin_check_due(double precision),
  public.kojin_end_each(double precision, timestamp with time zone, int),
  public.kojin_store_row(
    pg_catalog.text, pg_catalog.text, pg_catalog.text, double precision, pg_catalog.text, boolean, double precision, double precision
  ),
  public.kojin_store_each(
    pg_catalog.text[], pg_catalog.text[], pg_catalog.text[], double precision[], pg_catalog.text[], boolean[], double precision[], double precision[],
    double precision, boolean, int, int, int, boolean
  ),
  public.kojin_finish_each(
    pg_catalog.text[], pg_catalog.text[], pg_catalog.text[], pg_catalog.text[], double precision[], double precision[], double precision, boolean, int, int, int, boolean
  )
to kojin_storer;
-- Initialises groups and finishes their members, only through these functions. It cannot read the results of members,
-- or change counts and delete rows itself.
grant execute on function public.kojin_init_group(pg_catalog.text, int, pg_catalog.text[], double precision, double precision, pg_catalog.text), public.kojin_finish_members(pg_catalog.text[], pg_catalog.text[], pg_catalog.text[], pg_catalog.text[], double precision[]) to kojin_storer;
-- Does the same in SQL.
grant execute on function
  public.kojin_store(pg_catalog.text, pg_catalog.jsonb, interval),
  public.kojin_fail(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.jsonb, interval),
  public.kojin_complete_member(pg_catalog.text, pg_catalog.text, pg_catalog.jsonb),
  public.kojin_fail_member(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.jsonb),
  public.kojin_check_id(pg_catalog.text, pg_catalog.text),
  public.kojin_check_ttl(interval),
  public.kojin_failure(pg_catalog.text, pg_catalog.text, pg_catalog.jsonb),
  public.kojin_store_outcome(pg_catalog.text, pg_catalog.jsonb, pg_catalog.jsonb, interval),
  public.kojin_finish_member(pg_catalog.text, pg_catalog.text, pg_catalog.text, pg_catalog.text)
to kojin_storer;
-- Claims completed groups, for which it reads states and claims.
grant
  select (group_id, total, completed, failed, initialised, completed_at, expires_at, claim_token, claimed_until),
  update (claim_token, claimed_until)
on public.kojin_group_state to kojin_storer;

-- Emits chunks, only through these functions.
grant execute on function
  public.kojin_emit(pg_catalog.text, pg_catalog.jsonb, boolean, interval),
  public.kojin_emit_chunks(pg_catalog.text[], pg_catalog.text[], pg_catalog.text[], boolean[], double precision[], boolean),
  public.kojin_emit_each(
    pg_catalog.text[], pg_catalog.text[], pg_catalog.text[], boolean[], double precision[], double precision[], double precision, boolean, int, int, int, boolean
  )
to kojin_storer;

-- Marks tasks as expected, only through these functions.
grant execute on function public.kojin_expect(pg_catalog.text, interval), public.kojin_expect_task(pg_catalog.text, interval) to kojin_storer;

-- Waiter: reads and awaits results of tasks and groups, follows chunks, and serves the dashboard. It writes nothing.
grant select (task_id, result, error, stored_at, stored_xid, expires_at, trace_context) on public.kojin_results to kojin_waiter;
grant select (group_id, task_id, result, completed, error, position, finished_seq, stored_at) on public.kojin_groups to kojin_waiter;
grant select (group_id, total, completed, failed, declared, initialised, placeholders_late, created_at, completed_at, done_xid, deadline_ms, expires_at, claimed_until) on public.kojin_group_state to kojin_waiter;
grant select (task_id, attempt, sequence, expires_at) on public.kojin_streams to kojin_waiter;
grant select (task_id, attempt, sequence, chunk) on public.kojin_chunks to kojin_waiter;
-- It runs with the rights of its caller.
grant execute on function public.kojin_read_chunks(pg_catalog.text[], int[], bigint[], int) to kojin_waiter;

-- Janitor: deletes expired rows, and reads no results. It could delete any row. Locking a row requires the right to
-- update one of its columns, so it may update the least harmful ones.
grant select (task_id, stored_at, expires_at), update (created_at), delete on public.kojin_results to kojin_janitor;
-- Statements that delete call it with the rights of their caller.
grant execute on function public.kojin_late() to kojin_janitor;
grant select (group_id), delete on public.kojin_groups to kojin_janitor;
grant select (group_id, total, completed, failed, created_at, expires_at), update (expires_at), delete on public.kojin_group_state to kojin_janitor;
grant select (task_id, expires_at), update (expires_at), delete on public.kojin_streams to kojin_janitor;
-- They run with the rights of their caller.
grant execute on function
  public.kojin_groups_prune(int, double precision),
  public.kojin_streams_prune(int, double precision),
  public.kojin_delete_group(pg_catalog.text, double precision)
to kojin_janitor;

commit;
