-- Three roles with no more rights than they need. Optional: run it with any client, as the owner of the schema or as a superuser, once `migrate` has run, and again
-- after each later migration. It may be run any number of times. Put your schema in the place of public, and your names in the place of kojin_storer, kojin_waiter
-- and kojin_janitor. Who may do what is told in docs/security.md.
--
-- An application's own login gets those it needs, and one that does everything gets all three:
--   grant kojin_storer, kojin_waiter, kojin_janitor to app;

begin;

-- Needs the right to create roles; nothing else here does, so somebody else may have created them before.
do $$
declare
  wanted text;
begin
  foreach wanted in array array['kojin_storer', 'kojin_waiter', 'kojin_janitor'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = wanted) then
      execute format('create role %I nologin', wanted);
    end if;
  end loop;
end
$$;

set local search_path = public, pg_temp;

grant usage on schema public to kojin_storer, kojin_waiter, kojin_janitor;

-- Exactly what follows, whatever an earlier version of this file granted.
revoke all on kojin_results, kojin_groups, kojin_group_state, kojin_migrations from kojin_storer, kojin_waiter, kojin_janitor;

-- All: see that the tables have the version that the package works with.
grant select (version, name) on kojin_migrations to kojin_storer, kojin_waiter, kojin_janitor;

-- Storer: stores results and failures of tasks. It can read them, too: an upsert that says excluded.result asks for the right to select that column.
grant
  select (task_id, result, error, stored_at, expires_at, trace_context),
  insert (task_id, result, error, stored_at, expires_at, trace_context),
  update (result, error, stored_at, stored_xid, expires_at, trace_context)
on kojin_results to kojin_storer;
-- Called by the trigger, with the rights of the writer. Everybody has this one, unless it was taken from them.
grant execute on function kojin_announce(text, text, text[]) to kojin_storer;
-- Initialises groups and finishes their members, by functions alone. It cannot read results of members, nor count or delete anything by hand.
grant execute on function kojin_init_group(text, int, text[], float8, float8, text), kojin_finish_members(text[], text[], text[], text[]) to kojin_storer;
-- Claims groups that are done: sees how far each group is, and who holds it.
grant
  select (group_id, total, completed, failed, completed_at, expires_at, claim_token, claimed_until),
  update (claim_token, claimed_until)
on kojin_group_state to kojin_storer;

-- Waiter: reads and awaits results, of tasks and of groups. It writes nothing.
grant select (task_id, result, error, stored_at, stored_xid, expires_at, trace_context) on kojin_results to kojin_waiter;
grant select (group_id, task_id, result, completed, error, position, finished_seq) on kojin_groups to kojin_waiter;
grant select (group_id, total, completed, failed, declared, completed_at, done_xid, deadline_ms, expires_at) on kojin_group_state to kojin_waiter;

-- Janitor: deletes what has expired (it may delete anything), and reads no result. To lock a row takes the right to update one of its columns: those with which
-- least can be done.
grant select (task_id, expires_at), update (created_at), delete on kojin_results to kojin_janitor;
grant select (group_id), delete on kojin_groups to kojin_janitor;
grant select (group_id, expires_at), update (expires_at), delete on kojin_group_state to kojin_janitor;

commit;
