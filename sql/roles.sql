-- Three roles with no more rights than they need. Optional: run it with any client, as the owner of the schema or as a
-- superuser, once `migrate` has run, and again after each later migration. It may be run any number of times. Put your
-- schema in the place of public, and your names in the place of kojin_storer, kojin_waiter and kojin_janitor. Who may
-- do what is told in docs/security.md.
--
-- An application's own login gets those it needs, and one that does everything gets all three:
-- grant kojin_storer, kojin_waiter, kojin_janitor to app;

begin;

-- Whatever the session has: no name below is looked up in a schema in which others may create objects.
set local search_path = pg_catalog, pg_temp;

-- Needs the right to create roles; nothing else here does, so another role may have created them before.
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

-- Exactly what follows, whatever an earlier version of this file granted.
revoke all on public.kojin_results, public.kojin_groups, public.kojin_group_state, public.kojin_migrations from kojin_storer, kojin_waiter, kojin_janitor;

-- Nor what default privileges, or `grant all`, gave to other roles: the functions, some of which run with the rights of
-- their owner, and TRIGGER on the tables. A role of your own that needs a function is granted it after this file.
do $do$
declare
  revocation pg_catalog.text;
begin
  for revocation in
    with place as (
      select relnamespace as schema_id from pg_catalog.pg_class
      where oid operator(pg_catalog.=) $name$public.kojin_groups$name$::pg_catalog.regclass
    ),
    held as (
      select procedure.proowner as owner, granted.grantee, pg_catalog.format('all on function %s', procedure.oid::pg_catalog.regprocedure) as rights
      from place
      join pg_catalog.pg_proc as procedure on procedure.pronamespace operator(pg_catalog.=) place.schema_id
      cross join lateral pg_catalog.aclexplode(coalesce(procedure.proacl, pg_catalog.acldefault('f', procedure.proowner))) as granted
      where pg_catalog.starts_with(procedure.proname::pg_catalog.text, 'kojin_')
        and procedure.proname operator(pg_catalog.<>) all (array[
          'kojin_announce', 'kojin_results_notify', 'kojin_results_foreign_update', 'kojin_late', 'kojin_store_row', 'kojin_store_each', 'kojin_finish_each'
        ])
      union all
      select relation.relowner, granted.grantee, pg_catalog.format('trigger on table %s', relation.oid::pg_catalog.regclass)
      from place
      join pg_catalog.pg_class as relation on relation.relnamespace operator(pg_catalog.=) place.schema_id
      cross join lateral pg_catalog.aclexplode(relation.relacl) as granted
      where relation.relkind operator(pg_catalog.=) 'r' and pg_catalog.starts_with(relation.relname::pg_catalog.text, 'kojin_')
        and granted.privilege_type operator(pg_catalog.=) 'TRIGGER'
    )
    select pg_catalog.format('revoke %s from %s cascade', rights, case
      when grantee operator(pg_catalog.=) 0::pg_catalog.oid then 'PUBLIC'
      else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(grantee)::pg_catalog.text)
    end)
    from held
    where grantee operator(pg_catalog.<>) owner and pg_catalog.pg_has_role(owner, 'usage')
  loop
    execute revocation;
  end loop;
end
$do$;

-- All: see that the tables have the version that the package works with.
grant select (version, name) on public.kojin_migrations to kojin_storer, kojin_waiter, kojin_janitor;

-- Storer: stores results and failures of tasks. It can read them, too: an upsert that says excluded.result asks for the
-- right to select that column. Reads need stored_xid besides.
grant
  select (task_id, result, error, stored_at, stored_xid, expires_at, trace_context),
  insert (task_id, result, error, stored_at, expires_at, trace_context),
  update (result, error, stored_at, stored_xid, expires_at, trace_context)
on public.kojin_results to kojin_storer;
-- Called by the trigger, with the rights of the writer. Every role has this one, unless it was taken away.
grant execute on function public.kojin_announce(pg_catalog.text, pg_catalog.text, pg_catalog.text[]) to kojin_storer;
-- Called by what stores, with the rights of the writer.
grant execute on function
  public.kojin_late(),
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
-- Initialises groups and finishes their members, by functions alone. It cannot read results of members, nor count or
-- delete anything by hand.
grant execute on function public.kojin_init_group(pg_catalog.text, int, pg_catalog.text[], double precision, double precision, pg_catalog.text), public.kojin_finish_members(pg_catalog.text[], pg_catalog.text[], pg_catalog.text[], pg_catalog.text[], double precision[]) to kojin_storer;
-- Claims groups that are done: reads the state of each group, and its claim.
grant
  select (group_id, total, completed, failed, initialised, completed_at, expires_at, claim_token, claimed_until),
  update (claim_token, claimed_until)
on public.kojin_group_state to kojin_storer;

-- Waiter: reads and awaits results, of tasks and of groups. It writes nothing.
grant select (task_id, result, error, stored_at, stored_xid, expires_at, trace_context) on public.kojin_results to kojin_waiter;
grant select (group_id, task_id, result, completed, error, position, finished_seq) on public.kojin_groups to kojin_waiter;
grant select (group_id, total, completed, failed, declared, initialised, placeholders_late, completed_at, done_xid, deadline_ms, expires_at) on public.kojin_group_state to kojin_waiter;

-- Janitor: deletes what has expired (it may delete anything), and reads no result. To lock a row takes the right to
-- update one of its columns: those with which least can be done.
grant select (task_id, stored_at, expires_at), update (created_at), delete on public.kojin_results to kojin_janitor;
-- Called by what deletes, with the rights of its caller.
grant execute on function public.kojin_late() to kojin_janitor;
grant select (group_id), delete on public.kojin_groups to kojin_janitor;
grant select (group_id, expires_at), update (expires_at), delete on public.kojin_group_state to kojin_janitor;
-- With the rights of its caller.
grant execute on function public.kojin_groups_prune(int, double precision) to kojin_janitor;

commit;
