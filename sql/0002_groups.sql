-- Groups of tasks. The first four columns of kojin_groups are those of the Rust crate kojin-postgres 0.4. An existing
-- table of the crate is adopted with its rows, and the crate can keep using it. 0001_results.sql explains the markers
-- and @schema@.

-- @step Tables of groups
create table if not exists @schema@.kojin_groups (
  group_id pg_catalog.text not null,
  task_id pg_catalog.text not null,
  result pg_catalog.jsonb,
  completed boolean default false,
  primary key (group_id, task_id)
);

-- One row per group, with its size and the number of its finished members. Every writer of a group locks this row
-- before it locks members, so that writers cannot deadlock over members. The fillfactor leaves room for the frequent
-- updates.
create table if not exists @schema@.kojin_group_state (
  group_id pg_catalog.text primary key,
  -- Null until the size is known.
  total int,
  completed int not null default 0,
  failed int not null default 0,
  -- True if initGroup has set the total. Otherwise the total is the number of placeholders, the rows with which the
  -- crate declares members.
  initialised boolean not null default false,
  placeholders int not null default 0,
  -- When the latest placeholder arrived, and whether one arrived after a member had finished.
  placeholder_at timestamp with time zone,
  placeholders_late boolean not null default false,
  -- True if the members were declared by id, so that no others count.
  declared boolean not null default false,
  -- Time to live after completion, in milliseconds; null for ever. The default becomes a day in one of the last steps,
  -- so that groups from before this migration never expire.
  ttl_ms double precision,
  -- How long the group may stay open, in milliseconds; null for ever.
  deadline_ms double precision,
  -- A deletion that is retried spares a group that was created after the call.
  created_at timestamp with time zone not null default pg_catalog.clock_timestamp(),
  -- When the group is done. In the future while more placeholders may arrive; null while members are open.
  completed_at timestamp with time zone,
  -- The transaction that completed the group; null while it is open. Streams use it to find completed groups in commit
  -- order.
  done_xid pg_catalog.xid8,
  -- When the group expires: its deadline while it is open, and the end of its time to live after that.
  expires_at timestamp with time zone,
  claim_token pg_catalog.uuid,
  -- When the claim ends unless it is acknowledged; 'infinity' for a permanent claim.
  claimed_until timestamp with time zone,
  -- False if the row was created after some of its members. The next write, or the last step of this migration, then
  -- counts all of them.
  counted boolean not null default false,
  -- True if the original row was deleted, and this one was created from the positions of declared members. It is
  -- deleted with the last of them.
  restored boolean not null default false
) with (fillfactor = 50);

-- Serves the deletion of expired groups.
create index if not exists kojin_group_state_expires on @schema@.kojin_group_state (expires_at) where expires_at is not null;
-- Serves the read of unclaimed groups.
create index if not exists kojin_group_state_completed on @schema@.kojin_group_state (completed_at, group_id) where completed_at is not null;
-- Serves the read of open groups, however many others are kept.
create index if not exists kojin_group_state_open on @schema@.kojin_group_state (group_id) where completed_at is null;
-- Serves the read of groups that were completed since a snapshot.
create index if not exists kojin_group_state_done_xid on @schema@.kojin_group_state (done_xid) where done_xid is not null;

create sequence if not exists @schema@.kojin_group_seq;

-- @step Columns of kojin_groups
-- A member is completed if `completed` is true and result is not null, which is what the crate counts. Otherwise it is
-- failed if error is not null, and open if error is null.
-- position: the place in the declared order; null if the members were not declared by id.
-- finished_seq: a number that rises in the order in which members finish. It is taken under the row lock in
-- kojin_group_state, so within a group it also follows commit order: a reader that has read up to a number has missed
-- nothing below it.
-- stored_at: when the current outcome was written. A retry does not overwrite an outcome that is newer than its call.
-- Null for open members, and for members that are older than the column.
alter table @schema@.kojin_groups
  add column if not exists error pg_catalog.jsonb,
  add column if not exists position int,
  add column if not exists finished_seq bigint,
  add column if not exists stored_at timestamp with time zone;

-- @index kojin_groups_finished on kojin_groups
-- Serves the read of members that finished after a given one.
create index if not exists kojin_groups_finished on @schema@.kojin_groups (group_id, finished_seq) where finished_seq is not null;

-- @step Functions of groups
-- `#variable_conflict use_variable` is set wherever kojin_groups is read: the application may have added a column with
-- the name of one of our variables.

-- A session keeps the plans of functions, even if they were made while a table was almost empty. Such plans scan all of
-- kojin_groups: a member took 20 us of the server's time among 10 000 rows, and 110 us among 200 000. The functions
-- that writers call therefore disable plans that scan whole tables, which also applies to the functions they call in
-- turn. A member then took 19 us in both cases. They also force generic plans, since planning each call took half of
-- the time of a single member.

-- Locks different groups in the order of their ids. With is_making it also creates absent rows, and starts over if one
-- is deleted between the two statements, since a writer without its lock would add to nothing. Returns three lists: the
-- groups whose members must be counted, those that have expired, and those that this transaction has recounted after a
-- statement. The latter must be recounted again by each further trigger of the statement, because its rows are already
-- in the count.
create or replace function @schema@.kojin_groups_hold(
  group_ids pg_catalog.text[], is_making boolean, out uncounted pg_catalog.text[], out expired pg_catalog.text[], out recounted pg_catalog.text[]
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  setting constant pg_catalog.text := pg_catalog.current_setting('kojin.recounted'::pg_catalog.text, true);
  held bigint;
begin
  if setting operator(pg_catalog.<>) ''::pg_catalog.text then
    recounted := setting::pg_catalog.text[];
  end if;
  loop
    select
      pg_catalog.count(*),
      pg_catalog.array_agg(locked.group_id) filter (where not locked.counted or locked.group_id operator(pg_catalog.=) any (recounted)),
      pg_catalog.array_agg(locked.group_id) filter (where locked.expires_at operator(pg_catalog.<=) pg_catalog.clock_timestamp())
    into held, uncounted, expired
    from (
      select state.group_id, state.counted, state.expires_at
      from @schema@.kojin_group_state as state
      where state.group_id operator(pg_catalog.=) any (group_ids)
      order by state.group_id
      for update
    ) as locked;
    exit when held operator(pg_catalog.=) pg_catalog.cardinality(group_ids) or not is_making;
    insert into @schema@.kojin_group_state (group_id, counted)
    select absent.id, not exists (select from @schema@.kojin_groups as member where member.group_id operator(pg_catalog.=) absent.id)
    from pg_catalog.unnest(group_ids) as absent (id)
    where not exists (select from @schema@.kojin_group_state as state where state.group_id operator(pg_catalog.=) absent.id)
    order by absent.id
    on conflict (group_id) do nothing;
  end loop;
end
$$;

-- Adds changes to the state of groups, completes or reopens groups accordingly, and announces them: as 'done' when a
-- group completes, and as 'groups' for any other change. The arrays have equal length. They hold the group, and what to
-- add to its completed and failed members, to the declared ones among these, and to its placeholders. The caller holds
-- the locks.
--
-- An expired group counts as absent: it does not complete, and is not announced. A completed group that loses members
-- is open again, unless it is claimed.
create or replace function @schema@.kojin_groups_change(
  group_ids pg_catalog.text[], completed_by int[], failed_by int[], completed_declared_by int[], failed_declared_by int[], placeholders_by int[],
  channel pg_catalog.text
) returns pg_catalog.void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  present constant timestamp with time zone := pg_catalog.clock_timestamp();
  -- The crate declares a group row by row, possibly after members have finished. The group is not done while another
  -- placeholder may still arrive.
  quiet_time constant interval := '500 milliseconds';
  done_ids pg_catalog.text[];
  changed_ids pg_catalog.text[];
begin
  with counted as (
    select
      state.group_id, state.initialised, state.completed_at, state.expires_at, state.ttl_ms, state.deadline_ms,
      coalesce(state.expires_at operator(pg_catalog.<=) present, false) as is_expired,
      coalesce(state.claimed_until operator(pg_catalog.>) present, false) and added.placeholders operator(pg_catalog.<=) 0 as is_kept,
      coalesce(added.placeholders operator(pg_catalog.>) 0, false) as is_declared_on,
      state.completed operator(pg_catalog.+) case when state.declared then added.completed_declared else added.completed end as completed,
      state.failed operator(pg_catalog.+) case when state.declared then added.failed_declared else added.failed end as failed,
      state.placeholders operator(pg_catalog.+) added.placeholders as placeholders,
      case
        when state.initialised then state.total
        when (state.placeholders operator(pg_catalog.+) added.placeholders) operator(pg_catalog.>) 0 then state.placeholders operator(pg_catalog.+) added.placeholders
      end as total,
      case when added.placeholders operator(pg_catalog.>) 0 then present else state.placeholder_at end as placeholder_at,
      state.placeholders_late
        or (added.placeholders operator(pg_catalog.>) 0 and (state.completed operator(pg_catalog.+) state.failed) operator(pg_catalog.>) 0) as placeholders_late
    from rows from (
      pg_catalog.unnest(group_ids), pg_catalog.unnest(completed_by), pg_catalog.unnest(failed_by),
      pg_catalog.unnest(completed_declared_by), pg_catalog.unnest(failed_declared_by), pg_catalog.unnest(placeholders_by)
    )
      as added (group_id, completed, failed, completed_declared, failed_declared, placeholders)
    join @schema@.kojin_group_state as state on state.group_id operator(pg_catalog.=) added.group_id
  ),
  decided as (
    select
      counted.*,
      case
        when counted.is_expired then counted.completed_at
        when (counted.completed operator(pg_catalog.+) counted.failed) operator(pg_catalog.>=) counted.total then
          case
            when counted.completed_at operator(pg_catalog.<=) present then counted.completed_at
            when counted.initialised or counted.placeholder_at is null then coalesce(counted.completed_at, present)
            else greatest(present, counted.placeholder_at operator(pg_catalog.+) quiet_time)
          end
        when counted.is_kept and counted.completed_at operator(pg_catalog.<=) present then counted.completed_at
      end as done_at
    from counted
  ),
  changed as (
    update @schema@.kojin_group_state as state
    set
      completed = decided.completed,
      failed = decided.failed,
      placeholders = decided.placeholders,
      total = decided.total,
      placeholder_at = decided.placeholder_at,
      placeholders_late = decided.placeholders_late,
      completed_at = decided.done_at,
      done_xid = case
        when decided.done_at is null then null
        when decided.completed_at is null then pg_catalog.pg_current_xact_id()
        else state.done_xid
      end,
      expires_at = case
        -- Unchanged if the group has expired, or neither completes nor opens again.
        when decided.is_expired or decided.done_at operator(pg_catalog.=) decided.completed_at or (decided.done_at is null and decided.completed_at is null) then state.expires_at
        when decided.done_at is null then present operator(pg_catalog.+) (state.deadline_ms operator(pg_catalog.*) interval '1 millisecond')
        else decided.done_at operator(pg_catalog.+) (state.ttl_ms operator(pg_catalog.*) interval '1 millisecond')
      end
    from decided
    where state.group_id operator(pg_catalog.=) decided.group_id
    returning state.group_id, decided.is_expired, decided.completed_at is null and state.completed_at is not null as is_done
  )
  select
    pg_catalog.array_agg(changed.group_id) filter (where changed.is_done),
    pg_catalog.array_agg(changed.group_id) filter (where not changed.is_done)
  into done_ids, changed_ids
  from changed
  where not changed.is_expired;
  if coalesce(pg_catalog.current_setting('kojin.notify'::pg_catalog.text, true), ''::pg_catalog.text) operator(pg_catalog.=) 'off'::pg_catalog.text then
    return;
  end if;
  if done_ids is not null then
    perform @schema@.kojin_announce(channel, 'done'::pg_catalog.text, array(select pg_catalog.to_json(given.id)::pg_catalog.text from pg_catalog.unnest(done_ids) as given (id)));
  end if;
  if changed_ids is not null then
    perform @schema@.kojin_announce(channel, 'groups'::pg_catalog.text, array(select pg_catalog.to_json(given.id)::pg_catalog.text from pg_catalog.unnest(changed_ids) as given (id)));
  end if;
end
$$;

-- Completes or reopens groups whose counts are already up to date.
create or replace function @schema@.kojin_groups_settle(group_ids pg_catalog.text[], channel pg_catalog.text) returns pg_catalog.void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  none constant int[] := pg_catalog.array_fill(0, array[pg_catalog.cardinality(group_ids)]);
begin
  perform @schema@.kojin_groups_change(group_ids, none, none, none, none, none, channel);
end
$$;

-- Counts groups again from their members, and numbers finished members that have no number. The caller holds the locks,
-- and calls kojin_groups_settle afterwards. If the state of a group was lost, the positions of its members show that
-- they were declared, and how many there are.
create or replace function @schema@.kojin_groups_count(group_ids pg_catalog.text[]) returns pg_catalog.void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
  update @schema@.kojin_groups as member
  set finished_seq = pg_catalog.nextval($name$@schema@.kojin_group_seq$name$::pg_catalog.regclass)
  where member.group_id operator(pg_catalog.=) any (group_ids)
    and member.finished_seq is null
    and (member.error is not null or (member.completed and member.result is not null));
  update @schema@.kojin_group_state as state
  set
    completed = case when found.is_declared then found.completed_declared else found.completed end,
    failed = case when found.is_declared then found.failed_declared else found.failed end,
    placeholders = found.placeholders,
    placeholder_at = case
      when state.initialised or found.positions operator(pg_catalog.>) 0 or found.placeholders operator(pg_catalog.<=) state.placeholders then state.placeholder_at
      else pg_catalog.clock_timestamp()
    end,
    total = case
      when state.initialised then state.total
      when found.positions operator(pg_catalog.>) 0 then found.positions
      when found.placeholders operator(pg_catalog.>) 0 then found.placeholders
    end,
    initialised = state.initialised or found.positions operator(pg_catalog.>) 0,
    restored = state.restored or (found.positions operator(pg_catalog.>) 0 and not state.initialised),
    declared = found.is_declared,
    counted = true
  from (
    select
      present.group_id,
      present.declared or coalesce(members.positions, 0) operator(pg_catalog.>) 0 as is_declared,
      coalesce(members.positions, 0) as positions,
      coalesce(members.completed, 0)::int as completed,
      coalesce(members.failed, 0)::int as failed,
      coalesce(members.completed_declared, 0)::int as completed_declared,
      coalesce(members.failed_declared, 0)::int as failed_declared,
      coalesce(members.placeholders, 0)::int as placeholders
    from @schema@.kojin_group_state as present
    left join (
      select
        member.group_id,
        pg_catalog.max(member.position) as positions,
        pg_catalog.count(*) filter (where member.completed and member.result is not null) as completed,
        pg_catalog.count(*) filter (where member.error is not null and (member.completed and member.result is not null) is not true) as failed,
        pg_catalog.count(*) filter (where member.completed and member.result is not null and member.position is not null) as completed_declared,
        pg_catalog.count(*) filter (
          where member.error is not null and (member.completed and member.result is not null) is not true and member.position is not null
        ) as failed_declared,
        pg_catalog.count(*) filter (
          where pg_catalog.starts_with(member.task_id::pg_catalog.text, member.group_id::pg_catalog.text operator(pg_catalog.||) ':placeholder:'::pg_catalog.text)
        ) as placeholders
      from @schema@.kojin_groups as member
      where member.group_id operator(pg_catalog.=) any (group_ids)
      group by member.group_id
    ) as members on members.group_id operator(pg_catalog.=) present.group_id
    where present.group_id operator(pg_catalog.=) any (group_ids)
  ) as found
  where state.group_id operator(pg_catalog.=) found.group_id;
end
$$;

-- Deletes the members of expired groups and resets their states, so that their ids can be used again. The caller holds
-- the locks.
create or replace function @schema@.kojin_groups_forget(group_ids pg_catalog.text[]) returns pg_catalog.void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
  -- First the members: the trigger subtracts them while the group is still expired, so nothing is announced. The update
  -- below resets the counts.
  delete from @schema@.kojin_groups as member where member.group_id operator(pg_catalog.=) any (group_ids);
  update @schema@.kojin_group_state as state
  set
    total = default, completed = default, failed = default, counted = default, initialised = default, placeholders = default, placeholder_at = default,
    placeholders_late = default, restored = default, declared = default, ttl_ms = default, deadline_ms = default, created_at = default, completed_at = default, done_xid = default, expires_at = default, claim_token = default,
    claimed_until = default
  where state.group_id operator(pg_catalog.=) any (group_ids);
end
$$;

-- Locks groups, forgets those that have expired, and counts those that are not yet counted. The functions for writers
-- call it first.
create or replace function @schema@.kojin_groups_lock(group_ids pg_catalog.text[]) returns pg_catalog.void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  distinct_ids pg_catalog.text[] := group_ids[1 : 1];
  held record;
begin
  -- The usual case needs no query.
  if not (group_ids[1] operator(pg_catalog.=) all (group_ids)) then
    distinct_ids := array(select distinct given.id from pg_catalog.unnest(group_ids) as given (id));
  end if;
  select locked.uncounted, locked.expired into held from @schema@.kojin_groups_hold(distinct_ids, true) as locked;
  if held.expired is not null then
    perform @schema@.kojin_groups_forget(held.expired);
  end if;
  if held.uncounted is not null then
    perform @schema@.kojin_groups_count(held.uncounted);
  end if;
end
$$;

-- Runs before each row of a writer that knows only the crate's columns. Locks the group, as every writer does first,
-- and gives a finishing member its number and time. The first row inserted for an expired group starts it anew. A
-- success that replaces a failure clears the failure. Rows of the functions below have their own number. security
-- definer, since the crate's role has no right on kojin_group_state.
create or replace function @schema@.kojin_groups_foreign_write() returns pg_catalog.trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
declare
  is_update constant boolean := tg_op operator(pg_catalog.=) 'UPDATE'::pg_catalog.text;
  is_moved boolean := false;
  deadline timestamp with time zone;
begin
  if is_update then
    is_moved := new.group_id operator(pg_catalog.<>) old.group_id or new.task_id operator(pg_catalog.<>) old.task_id;
    if new.group_id operator(pg_catalog.<>) old.group_id then
      perform @schema@.kojin_groups_hold(array[old.group_id::pg_catalog.text, new.group_id::pg_catalog.text], true);
    end if;
  end if;
  -- Does the same as kojin_groups_hold, but for one group. This runs for each row, and for 100 000 rows
  -- kojin_groups_hold took 6.2 s instead of 4.6 s.
  loop
    select state.expires_at into deadline
    from @schema@.kojin_group_state as state where state.group_id operator(pg_catalog.=) new.group_id::pg_catalog.text for update;
    exit when found;
    insert into @schema@.kojin_group_state (group_id, counted)
    select
      new.group_id::pg_catalog.text,
      not exists (select from @schema@.kojin_groups as member where member.group_id operator(pg_catalog.=) new.group_id::pg_catalog.text)
    on conflict (group_id) do nothing;
  end loop;
  -- Not for an update, which may be about to change the rows that would be deleted.
  if not is_update and deadline operator(pg_catalog.<=) pg_catalog.clock_timestamp() then
    perform @schema@.kojin_groups_forget(array[new.group_id::pg_catalog.text]);
  end if;
  if is_update and new.completed and new.result is not null and new.error operator(pg_catalog.=) old.error then
    new.error := null;
  end if;
  if new.error is not null or (new.completed and new.result is not null) then
    if new.finished_seq is null or is_moved then
      new.finished_seq := pg_catalog.nextval($name$@schema@.kojin_group_seq$name$::pg_catalog.regclass);
    end if;
    -- Keeps a time that the writer has set itself.
    if new.stored_at is null or (is_update and new.stored_at operator(pg_catalog.=) old.stored_at) then
      new.stored_at := pg_catalog.clock_timestamp();
    end if;
  else
    new.finished_seq := null;
    new.stored_at := null;
  end if;
  return new;
end
$$;

-- Called after a statement. Recounts groups, and records them in kojin.recounted for the other triggers of the
-- statement. recounted is the list recorded so far.
create or replace function @schema@.kojin_groups_recount(group_ids pg_catalog.text[], recounted pg_catalog.text[], channel pg_catalog.text)
returns pg_catalog.void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform @schema@.kojin_groups_count(group_ids);
  perform @schema@.kojin_groups_settle(group_ids, channel);
  perform pg_catalog.set_config('kojin.recounted'::pg_catalog.text, array(
    select distinct given.id from pg_catalog.unnest(recounted operator(pg_catalog.||) group_ids) as given (id)
  )::pg_catalog.text, true);
end
$$;

-- Called after a statement of any writer. Adds its changes to the counts. The locks are usually held already; taking
-- them here keeps the counts right even if the row trigger is disabled. After a DELETE, a state about which nothing is
-- known any more is deleted.
create or replace function @schema@.kojin_groups_add(
  group_ids pg_catalog.text[], completed_by int[], failed_by int[], completed_declared_by int[], failed_declared_by int[], placeholders_by int[],
  is_delete boolean, channel pg_catalog.text
) returns pg_catalog.void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  held record;
begin
  -- The usual case: a single group that is open and stays open. One statement instead of three saves a tenth of a
  -- batch's time.
  if pg_catalog.cardinality(group_ids) operator(pg_catalog.=) 1 and not is_delete and placeholders_by[1] operator(pg_catalog.=) 0
    and coalesce(pg_catalog.current_setting('kojin.recounted'::pg_catalog.text, true), ''::pg_catalog.text) operator(pg_catalog.=) ''::pg_catalog.text
  then
    update @schema@.kojin_group_state as state
    set
      completed = state.completed operator(pg_catalog.+) case when state.declared then completed_declared_by[1] else completed_by[1] end,
      failed = state.failed operator(pg_catalog.+) case when state.declared then failed_declared_by[1] else failed_by[1] end
    where state.group_id operator(pg_catalog.=) group_ids[1] and state.counted and state.completed_at is null
      and (state.expires_at is null or state.expires_at operator(pg_catalog.>) pg_catalog.clock_timestamp())
      and (
        state.completed operator(pg_catalog.+) state.failed operator(pg_catalog.+) completed_by[1] operator(pg_catalog.+) failed_by[1] operator(pg_catalog.<) state.total
        or state.total is null
      );
    if found then
      if coalesce(pg_catalog.current_setting('kojin.notify'::pg_catalog.text, true), ''::pg_catalog.text) operator(pg_catalog.<>) 'off'::pg_catalog.text then
        perform @schema@.kojin_announce(channel, 'groups'::pg_catalog.text, array[pg_catalog.to_json(group_ids[1])::pg_catalog.text]);
      end if;
      return;
    end if;
  end if;
  select locked.uncounted, locked.recounted into held from @schema@.kojin_groups_hold(group_ids, not is_delete) as locked;
  if held.uncounted is null then
    perform @schema@.kojin_groups_change(group_ids, completed_by, failed_by, completed_declared_by, failed_declared_by, placeholders_by, channel);
  else
    -- A recount of these groups includes the rows of this statement. During a migration it is left to the last step,
    -- since counting an old group of perhaps a million members would keep this writer waiting.
    if not exists (select from @schema@.kojin_migrations as migration where migration.version operator(pg_catalog.=) 0) then
      perform @schema@.kojin_groups_recount(held.uncounted, held.recounted, channel);
    end if;
    perform @schema@.kojin_groups_change(
      pg_catalog.array_agg(added.group_id), pg_catalog.array_agg(added.completed), pg_catalog.array_agg(added.failed),
      pg_catalog.array_agg(added.completed_declared), pg_catalog.array_agg(added.failed_declared), pg_catalog.array_agg(added.placeholders), channel
    )
    from rows from (
      pg_catalog.unnest(group_ids), pg_catalog.unnest(completed_by), pg_catalog.unnest(failed_by),
      pg_catalog.unnest(completed_declared_by), pg_catalog.unnest(failed_declared_by), pg_catalog.unnest(placeholders_by)
    )
      as added (group_id, completed, failed, completed_declared, failed_declared, placeholders)
    where added.group_id operator(pg_catalog.<>) all (held.uncounted)
    having pg_catalog.count(*) operator(pg_catalog.>) 0;
  end if;
  if is_delete then
    delete from @schema@.kojin_group_state as state
    where state.group_id operator(pg_catalog.=) any (group_ids)
      and case
        when state.restored then not exists (select from @schema@.kojin_groups as member where member.group_id operator(pg_catalog.=) state.group_id)
        else not state.initialised and (state.completed operator(pg_catalog.+) state.failed operator(pg_catalog.+) state.placeholders) operator(pg_catalog.<=) 0
      end
      -- Not an expired group: its caller is about to use the locked row for a new group.
      and (state.expires_at is null or state.expires_at operator(pg_catalog.>) pg_catalog.clock_timestamp());
  end if;
end
$$;

-- Counts the members of an INSERT. security definer, as above.
create or replace function @schema@.kojin_groups_count_insert() returns pg_catalog.trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
  perform @schema@.kojin_groups_add(
    pg_catalog.array_agg(added.group_id), pg_catalog.array_agg(added.completed), pg_catalog.array_agg(added.failed),
    pg_catalog.array_agg(added.completed_declared), pg_catalog.array_agg(added.failed_declared), pg_catalog.array_agg(added.placeholders),
    false, tg_argv[0]
  )
  from (
    select
      written.group_id::pg_catalog.text as group_id,
      pg_catalog.count(*) filter (where written.completed and written.result is not null)::int as completed,
      pg_catalog.count(*) filter (where written.error is not null and (written.completed and written.result is not null) is not true)::int as failed,
      pg_catalog.count(*) filter (where written.completed and written.result is not null and written.position is not null)::int as completed_declared,
      pg_catalog.count(*) filter (
        where written.error is not null and (written.completed and written.result is not null) is not true and written.position is not null
      )::int as failed_declared,
      pg_catalog.count(*) filter (
        where pg_catalog.starts_with(written.task_id::pg_catalog.text, written.group_id::pg_catalog.text operator(pg_catalog.||) ':placeholder:'::pg_catalog.text)
      )::int as placeholders
    from new_rows as written
    group by written.group_id
  ) as added
  where (added.completed operator(pg_catalog.+) added.failed operator(pg_catalog.+) added.placeholders) operator(pg_catalog.>) 0
  having pg_catalog.count(*) operator(pg_catalog.>) 0;
  return null;
end
$$;

-- Counts the members of an UPDATE: new rows have the weight 1 and old rows -1. Rows then need not be matched, and a
-- member that moves to another group is counted there.
create or replace function @schema@.kojin_groups_count_update() returns pg_catalog.trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
  perform @schema@.kojin_groups_add(
    pg_catalog.array_agg(added.group_id), pg_catalog.array_agg(added.completed), pg_catalog.array_agg(added.failed),
    pg_catalog.array_agg(added.completed_declared), pg_catalog.array_agg(added.failed_declared), pg_catalog.array_agg(added.placeholders),
    false, tg_argv[0]
  )
  from (
    select
      weighed.group_id::pg_catalog.text as group_id,
      coalesce(pg_catalog.sum(weighed.weight) filter (where weighed.completed and weighed.result is not null), 0)::int as completed,
      coalesce(pg_catalog.sum(weighed.weight) filter (where weighed.error is not null and (weighed.completed and weighed.result is not null) is not true), 0)::int as failed,
      coalesce(pg_catalog.sum(weighed.weight) filter (where weighed.completed and weighed.result is not null and weighed.position is not null), 0)::int as completed_declared,
      coalesce(pg_catalog.sum(weighed.weight) filter (
        where weighed.error is not null and (weighed.completed and weighed.result is not null) is not true and weighed.position is not null
      ), 0)::int as failed_declared,
      coalesce(pg_catalog.sum(weighed.weight) filter (
        where pg_catalog.starts_with(weighed.task_id::pg_catalog.text, weighed.group_id::pg_catalog.text operator(pg_catalog.||) ':placeholder:'::pg_catalog.text)
      ), 0)::int as placeholders
    from (
      select 1 as weight, written.group_id, written.task_id, written.completed, written.result, written.error, written.position from new_rows as written
      union all
      select -1, written.group_id, written.task_id, written.completed, written.result, written.error, written.position from old_rows as written
    ) as weighed
    group by weighed.group_id
  ) as added
  where added.completed operator(pg_catalog.<>) 0 or added.failed operator(pg_catalog.<>) 0
    or added.completed_declared operator(pg_catalog.<>) 0 or added.failed_declared operator(pg_catalog.<>) 0 or added.placeholders operator(pg_catalog.<>) 0
  having pg_catalog.count(*) operator(pg_catalog.>) 0;
  return null;
end
$$;

-- Subtracts the members of a DELETE.
create or replace function @schema@.kojin_groups_count_delete() returns pg_catalog.trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
begin
  perform @schema@.kojin_groups_add(
    pg_catalog.array_agg(added.group_id), pg_catalog.array_agg(added.completed), pg_catalog.array_agg(added.failed),
    pg_catalog.array_agg(added.completed_declared), pg_catalog.array_agg(added.failed_declared), pg_catalog.array_agg(added.placeholders),
    true, tg_argv[0]
  )
  from (
    select
      written.group_id::pg_catalog.text as group_id,
      (0::bigint operator(pg_catalog.-) pg_catalog.count(*) filter (where written.completed and written.result is not null))::int as completed,
      (0::bigint operator(pg_catalog.-) pg_catalog.count(*) filter (where written.error is not null and (written.completed and written.result is not null) is not true))::int as failed,
      (0::bigint operator(pg_catalog.-) pg_catalog.count(*) filter (where written.completed and written.result is not null and written.position is not null))::int
        as completed_declared,
      (0::bigint operator(pg_catalog.-) pg_catalog.count(*) filter (
        where written.error is not null and (written.completed and written.result is not null) is not true and written.position is not null
      ))::int as failed_declared,
      (0::bigint operator(pg_catalog.-) pg_catalog.count(*) filter (
        where pg_catalog.starts_with(written.task_id::pg_catalog.text, written.group_id::pg_catalog.text operator(pg_catalog.||) ':placeholder:'::pg_catalog.text)
      ))::int as placeholders,
      pg_catalog.bool_or(written.position is not null) as is_declared
    from old_rows as written
    group by written.group_id
  ) as added
  -- Open members change no count, but a restored state is deleted with its last member.
  where (added.completed operator(pg_catalog.+) added.failed operator(pg_catalog.+) added.placeholders) operator(pg_catalog.<) 0 or added.is_declared
  having pg_catalog.count(*) operator(pg_catalog.>) 0;
  return null;
end
$$;

-- Resets all counts after a TRUNCATE of members. Claimed groups stay done, as after a DELETE.
create or replace function @schema@.kojin_groups_count_truncate() returns pg_catalog.trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  present constant timestamp with time zone := pg_catalog.clock_timestamp();
begin
  delete from @schema@.kojin_group_state as state where not state.initialised or state.restored;
  update @schema@.kojin_group_state as state
  set
    completed = 0,
    failed = 0,
    placeholders = 0,
    completed_at = case when state.claimed_until operator(pg_catalog.>) present then state.completed_at end,
    done_xid = case when state.claimed_until operator(pg_catalog.>) present then state.done_xid end,
    expires_at = case
      when state.completed_at is null or state.claimed_until operator(pg_catalog.>) present then state.expires_at
      else present operator(pg_catalog.+) (state.deadline_ms operator(pg_catalog.*) interval '1 millisecond')
    end
  where state.total operator(pg_catalog.>) 0 and (state.expires_at is null or state.expires_at operator(pg_catalog.>) present);
  if coalesce(pg_catalog.current_setting('kojin.notify'::pg_catalog.text, true), ''::pg_catalog.text) operator(pg_catalog.<>) 'off'::pg_catalog.text then
    perform pg_catalog.pg_notify(tg_argv[0], '{"v":1,"rescan":true}'::pg_catalog.text);
  end if;
  return null;
end
$$;

-- Restores deleted or truncated states of groups that still have members, as far as the members allow.
create or replace function @schema@.kojin_groups_count_states() returns pg_catalog.trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  lost pg_catalog.text[];
  held record;
begin
  if tg_op operator(pg_catalog.=) 'TRUNCATE'::pg_catalog.text then
    lost := array(select distinct member.group_id::pg_catalog.text from @schema@.kojin_groups as member);
  else
    lost := array(
      select gone.group_id from old_rows as gone
      where exists (
        select from @schema@.kojin_groups as member
        where member.group_id operator(pg_catalog.=) gone.group_id
          and (
            member.finished_seq is not null or member.position is not null
            or pg_catalog.starts_with(member.task_id::pg_catalog.text, member.group_id::pg_catalog.text operator(pg_catalog.||) ':placeholder:'::pg_catalog.text)
          )
      )
    );
  end if;
  if pg_catalog.cardinality(lost) operator(pg_catalog.>) 0 then
    select locked.recounted into held from @schema@.kojin_groups_hold(lost, true) as locked;
    -- The recount is recorded for other triggers of the same statement that have not run yet: a statement may delete
    -- the last members of a group, and its state with them, and also insert new members.
    perform @schema@.kojin_groups_recount(lost, held.recounted, tg_argv[0]);
  end if;
  return null;
end
$$;

-- Declares the size of a group (member_count), and optionally its members in order (member_ids). Returns null, or the
-- conflict: 'total' if the group has another total, 'members' if it has other members, or 'overflow' if more members
-- have finished. Takes time in proportion to the ids, however many members have finished. security definer, like the
-- next function, so that a role that finishes members needs no right to read, count or delete them.
create or replace function @schema@.kojin_init_group(
  id pg_catalog.text, member_count int, member_ids pg_catalog.text[], ttl double precision, deadline double precision, channel pg_catalog.text
) returns pg_catalog.text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_variable
declare
  state @schema@.kojin_group_state;
begin
  perform @schema@.kojin_groups_lock(array[id]);
  select present.* into strict state from @schema@.kojin_group_state as present where present.group_id operator(pg_catalog.=) id;
  if state.initialised then
    if state.total operator(pg_catalog.<>) member_count then
      return 'total';
    end if;
    if member_ids operator(pg_catalog.<>) array(
      select member.task_id::pg_catalog.text from @schema@.kojin_groups as member
      where member.group_id operator(pg_catalog.=) id and member.position is not null
      order by member.position
    ) then
      return 'members';
    end if;
    -- A restored group has lost its time to live and deadline, so they are set below.
    if not state.restored or member_ids is null then
      return null;
    end if;
  else
    if state.placeholders operator(pg_catalog.>) member_count then
      return 'total';
    end if;
    if member_ids is null then
      if (state.completed operator(pg_catalog.+) state.failed) operator(pg_catalog.>) member_count then
        return 'overflow';
      end if;
    else
      -- Insert the members first, then look for finished members that are not declared, and undo the insert if there
      -- are any. This reads only finished members, each once. Comparing them with the ids took minutes for 200 000.
      begin
        insert into @schema@.kojin_groups as member (group_id, task_id, completed, position)
        select id, declared.task_id, false, declared.place
        from pg_catalog.unnest(member_ids) with ordinality as declared (task_id, place)
        order by declared.task_id collate pg_catalog."C"
        on conflict (group_id, task_id) do update set position = excluded.position;
        if exists (
          select from @schema@.kojin_groups as member
          where member.group_id operator(pg_catalog.=) id and member.finished_seq is not null and member.position is null
        ) then
          raise exception using errcode = 'KJ001', message = 'members'::pg_catalog.text;
        end if;
      exception when sqlstate 'KJ001' then
        return 'members';
      end;
    end if;
  end if;
  update @schema@.kojin_group_state as present
  set
    total = member_count,
    initialised = true,
    restored = false,
    declared = member_ids is not null,
    ttl_ms = ttl,
    deadline_ms = deadline,
    -- The size is now certain, so there is no wait for further placeholders.
    completed_at = case when present.completed_at operator(pg_catalog.<=) pg_catalog.clock_timestamp() then present.completed_at end,
    expires_at = case
      when present.completed_at operator(pg_catalog.<=) pg_catalog.clock_timestamp() then present.completed_at operator(pg_catalog.+) (ttl operator(pg_catalog.*) interval '1 millisecond')
      else pg_catalog.clock_timestamp() operator(pg_catalog.+) (deadline operator(pg_catalog.*) interval '1 millisecond')
    end
  where present.group_id operator(pg_catalog.=) id;
  perform @schema@.kojin_groups_settle(array[id], channel);
  return null;
end
$$;

-- Finishes members. The arrays have equal length and hold the group, the task, and the result or the failure as JSON
-- text; the other of the two is '' or null. A pair of group and task must not repeat. Returns for each place the number
-- of completed members of its group, or the conflict: 'members' if the group declares others, or 'overflow' if it has
-- all its members. Each first completion gets the next number; a repeated one gets the current number. A failure does
-- not replace a success.
-- called: null, or the latest times at which the calls can have been made, in seconds since 1970. A success then does
-- not overwrite a success that was written later, nor a failure a failure. A stored member with a future or infinite
-- time does not count as newer, since its clock was wrong.
create or replace function @schema@.kojin_finish_members(
  group_ids pg_catalog.text[], task_ids pg_catalog.text[], results pg_catalog.text[], errors pg_catalog.text[], called double precision[] default null
) returns table (place int, completed_count int, conflict pg_catalog.text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_variable
declare
  members constant int := pg_catalog.cardinality(task_ids);
  completed_before int;
  places int[];
  counts int[];
  conflicts pg_catalog.text[];
  written int[];
  has_present boolean := false;
begin
  -- The usual case: new members of one group that are all completed and have room. The rules below would take a fifth
  -- of a batch's time.
  if group_ids[1] operator(pg_catalog.=) all (group_ids) and ''::pg_catalog.text operator(pg_catalog.=) all (errors) then
    select state.completed into completed_before
    from @schema@.kojin_group_state as state
    where state.group_id operator(pg_catalog.=) group_ids[1] and state.counted and not state.declared
      and (state.expires_at is null or state.expires_at operator(pg_catalog.>) pg_catalog.clock_timestamp())
      and (not state.initialised or (state.total operator(pg_catalog.-) state.completed operator(pg_catalog.-) state.failed) operator(pg_catalog.>=) members)
    for update;
    if found then
      select pg_catalog.array_agg(input.place), pg_catalog.array_agg(completed_before operator(pg_catalog.+) input.place) into written, counts
      from pg_catalog.generate_series(1, members) as input (place)
      where not exists (
        select from pg_catalog.unnest(task_ids) as given (task_id)
        -- "offset 0" keeps the planner from beginning with all members of the group.
        cross join lateral (
          select from @schema@.kojin_groups as member
          where member.group_id operator(pg_catalog.=) group_ids[1] and member.task_id operator(pg_catalog.=) given.task_id
          offset 0
        ) as present
      );
      places := written;
    end if;
  end if;
  if written is null then
    perform @schema@.kojin_groups_lock(group_ids);
    select
      pg_catalog.array_agg(decided.place), pg_catalog.array_agg(decided.completed_count), pg_catalog.array_agg(decided.reason),
      pg_catalog.array_agg(decided.place) filter (where decided.is_written), pg_catalog.bool_or(decided.is_written and decided.is_present)
    into places, counts, conflicts, written, has_present
    from (
      select
        ruled.place, ruled.reason, ruled.is_present,
        ruled.completed_before operator(pg_catalog.+) case
          when ruled.is_success and not ruled.was_completed and ruled.reason is null
          then pg_catalog.count(*) filter (where ruled.is_success and not ruled.was_completed and ruled.reason is null) over in_order
          else pg_catalog.count(*) filter (where ruled.is_success and not ruled.was_completed and ruled.reason is null) over (partition by ruled.group_id)
        end::int as completed_count,
        ruled.reason is null
          and case when ruled.was_completed then ruled.is_success and not ruled.is_newer else ruled.is_success or not ruled.is_newer end as is_written
      from (
        select
          found.*,
          case
            when found.declared and not found.is_declared then 'members'::pg_catalog.text
            when (pg_catalog.count(*) filter (where found.takes_room) over in_order) operator(pg_catalog.>) found.room and found.takes_room then 'overflow'::pg_catalog.text
          end as reason
        from (
          select
            grouped.group_id, input.place, state.completed as completed_before, state.declared,
            state.total operator(pg_catalog.-) state.completed operator(pg_catalog.-) state.failed as room,
            state.initialised and not state.declared and member.finished_seq is null as takes_room,
            coalesce(errors[input.place] operator(pg_catalog.=) ''::pg_catalog.text, true) as is_success,
            member.group_id is not null as is_present,
            member.position is not null as is_declared,
            coalesce(member.completed and member.result is not null, false) as was_completed,
            coalesce(
              member.stored_at operator(pg_catalog.>) pg_catalog.to_timestamp(called[input.place]) and member.stored_at operator(pg_catalog.<=) pg_catalog.clock_timestamp(),
              false
            ) as is_newer
          from (
            select given.group_id, pg_catalog.array_agg(given.place::int) as places
            from pg_catalog.unnest(group_ids) with ordinality as given (group_id, place)
            group by given.group_id
          ) as grouped
          join @schema@.kojin_group_state as state on state.group_id operator(pg_catalog.=) grouped.group_id
          cross join lateral pg_catalog.unnest(grouped.places) as input (place)
          left join @schema@.kojin_groups as member
            on member.group_id operator(pg_catalog.=) grouped.group_id and member.task_id operator(pg_catalog.=) task_ids[input.place]
        ) as found
        window in_order as (partition by found.group_id order by found.place rows unbounded preceding)
      ) as ruled
      window in_order as (partition by ruled.group_id order by ruled.place rows unbounded preceding)
    ) as decided;
  end if;
  -- `on conflict` only if it is needed, since it looks each member up once more and inserts it in two steps. No other
  -- writer can insert these members meanwhile: it would need the lock of the group.
  if has_present then
    insert into @schema@.kojin_groups as member (group_id, task_id, result, error, completed, finished_seq, stored_at)
    select
      group_ids[given.place], task_ids[given.place],
      case when results[given.place] operator(pg_catalog.<>) ''::pg_catalog.text then results[given.place] end::pg_catalog.jsonb,
      case when errors[given.place] operator(pg_catalog.<>) ''::pg_catalog.text then errors[given.place] end::pg_catalog.jsonb,
      coalesce(errors[given.place] operator(pg_catalog.=) ''::pg_catalog.text, true),
      pg_catalog.nextval($name$@schema@.kojin_group_seq$name$::pg_catalog.regclass), pg_catalog.clock_timestamp()
    from pg_catalog.unnest(written) as given (place)
    on conflict (group_id, task_id) do update
      set
        result = excluded.result, error = excluded.error, completed = excluded.completed,
        finished_seq = coalesce(member.finished_seq, excluded.finished_seq), stored_at = excluded.stored_at;
  elsif written is not null then
    insert into @schema@.kojin_groups (group_id, task_id, result, error, completed, finished_seq, stored_at)
    select
      group_ids[given.place], task_ids[given.place],
      case when results[given.place] operator(pg_catalog.<>) ''::pg_catalog.text then results[given.place] end::pg_catalog.jsonb,
      case when errors[given.place] operator(pg_catalog.<>) ''::pg_catalog.text then errors[given.place] end::pg_catalog.jsonb,
      coalesce(errors[given.place] operator(pg_catalog.=) ''::pg_catalog.text, true),
      pg_catalog.nextval($name$@schema@.kojin_group_seq$name$::pg_catalog.regclass), pg_catalog.clock_timestamp()
    from pg_catalog.unnest(written) as given (place);
  end if;
  return query select pg_catalog.unnest(places), pg_catalog.unnest(counts), pg_catalog.unnest(conflicts);
  -- No trigger fires in such a session, so count here.
  if pg_catalog.current_setting('session_replication_role'::pg_catalog.text) operator(pg_catalog.=) 'replica'::pg_catalog.text then
    perform @schema@.kojin_groups_count(group_ids);
    perform @schema@.kojin_groups_settle(array(select distinct given.id from pg_catalog.unnest(group_ids) as given (id)), @channel@);
  end if;
end
$$;

-- Deletes up to max_groups groups that expired at least older_than_ms ago, with their members, and returns their
-- number. Skips groups that another session has locked. The members are deleted in a second statement, which sees all
-- members written before the locks were taken.
create or replace function @schema@.kojin_groups_prune(max_groups int, older_than_ms double precision) returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  expired constant pg_catalog.text[] := array(
    select state.group_id from @schema@.kojin_group_state as state
    where state.expires_at operator(pg_catalog.<=) (pg_catalog.clock_timestamp() operator(pg_catalog.-) (older_than_ms operator(pg_catalog.*) interval '1 millisecond'))
    order by state.expires_at
    limit max_groups
    for update skip locked
  );
begin
  with states as (
    delete from @schema@.kojin_group_state as state where state.group_id operator(pg_catalog.=) any (expired)
  )
  delete from @schema@.kojin_groups as member where member.group_id operator(pg_catalog.=) any (expired);
  return pg_catalog.cardinality(expired);
end
$$;

-- Deletes a group with its members. Returns true if there was one that had not expired. called_at: null, or the latest
-- time at which the call can have been made, in seconds since 1970. A group that was created later is spared, unless
-- that time is in the future, since its clock was wrong. The members are deleted in a second statement, as above.
create or replace function @schema@.kojin_delete_group(id pg_catalog.text, called_at double precision default null) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_variable
declare
  is_known boolean;
begin
  select (state.total is not null or (state.completed operator(pg_catalog.+) state.failed) operator(pg_catalog.>) 0)
    and (state.expires_at is null or state.expires_at operator(pg_catalog.>) pg_catalog.clock_timestamp())
  into is_known
  from @schema@.kojin_group_state as state
  where state.group_id operator(pg_catalog.=) id
    and (
      called_at is null or state.created_at operator(pg_catalog.<=) pg_catalog.to_timestamp(called_at)
      or state.created_at operator(pg_catalog.>) pg_catalog.clock_timestamp()
    )
  for update;
  if not found then
    return false;
  end if;
  with states as (
    delete from @schema@.kojin_group_state as state where state.group_id operator(pg_catalog.=) id
  )
  delete from @schema@.kojin_groups as member where member.group_id operator(pg_catalog.=) id;
  return is_known;
end
$$;

-- Adds what was not written for a page of members while the triggers did not fire: a state for their groups, and a
-- number for finished members. Pages follow the primary key. after_key is null for the first page, and then the
-- next_cursor of the previous page, which is null after the last one.
create or replace function @schema@.kojin_groups_number_page(after_key pg_catalog.text, max_rows int, out next_cursor pg_catalog.text, out page_rows int)
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_variable
declare
  after_group constant pg_catalog.text := coalesce(after_key::pg_catalog.json operator(pg_catalog.->>) 0, '');
  after_task constant pg_catalog.text := coalesce(after_key::pg_catalog.json operator(pg_catalog.->>) 1, '');
  group_ids pg_catalog.text[];
  task_ids pg_catalog.text[];
begin
  select pg_catalog.array_agg(page.group_id), pg_catalog.array_agg(page.task_id) into group_ids, task_ids
  from (
    select member.group_id::pg_catalog.text as group_id, member.task_id::pg_catalog.text as task_id
    from @schema@.kojin_groups as member
    where (member.group_id, member.task_id) operator(pg_catalog.>) (after_group, after_task)
    order by member.group_id, member.task_id
    limit max_rows
  ) as page;
  page_rows := coalesce(pg_catalog.cardinality(group_ids), 0);
  if page_rows operator(pg_catalog.=) 0 then
    return;
  end if;
  -- States are locked before members, as by every writer.
  perform @schema@.kojin_groups_hold(array(select distinct given.id from pg_catalog.unnest(group_ids) as given (id)), true);
  with unnumbered as materialized (
    select member.group_id, member.task_id
    from rows from (pg_catalog.unnest(group_ids), pg_catalog.unnest(task_ids)) with ordinality as page (group_id, task_id, place)
    join @schema@.kojin_groups as member
      on member.group_id operator(pg_catalog.=) page.group_id and member.task_id operator(pg_catalog.=) page.task_id
    where member.finished_seq is null and (member.error is not null or (member.completed and member.result is not null))
    order by page.place
  ),
  numbered as materialized (
    select group_id, task_id, pg_catalog.nextval($name$@schema@.kojin_group_seq$name$) as finished_seq from unnumbered
  )
  update @schema@.kojin_groups as member
  set finished_seq = numbered.finished_seq
  from numbered
  where member.group_id operator(pg_catalog.=) numbered.group_id and member.task_id operator(pg_catalog.=) numbered.task_id;
  if page_rows operator(pg_catalog.=) max_rows then
    next_cursor := pg_catalog.json_build_array(group_ids[max_rows], task_ids[max_rows])::pg_catalog.text;
  end if;
end
$$;

-- Counts and settles a page of groups, except expired ones. The parameters are those of kojin_groups_number_page.
create or replace function @schema@.kojin_groups_count_page(after_key pg_catalog.text, max_rows int, out next_cursor pg_catalog.text, out page_rows int)
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  -- Fewer groups than rows, since each group may have many members.
  max_groups constant int := greatest(1, max_rows operator(pg_catalog./) 4);
  group_ids pg_catalog.text[];
begin
  select pg_catalog.array_agg(page.group_id) into group_ids
  from (
    select state.group_id
    from @schema@.kojin_group_state as state
    where state.group_id operator(pg_catalog.>) coalesce(after_key, '')
      and (state.expires_at is null or state.expires_at operator(pg_catalog.>) pg_catalog.clock_timestamp())
    order by state.group_id
    limit max_groups
  ) as page;
  page_rows := coalesce(pg_catalog.cardinality(group_ids), 0);
  if page_rows operator(pg_catalog.=) 0 then
    return;
  end if;
  perform from @schema@.kojin_group_state as state where state.group_id operator(pg_catalog.=) any (group_ids) order by state.group_id for update;
  perform @schema@.kojin_groups_count(group_ids);
  perform @schema@.kojin_groups_settle(group_ids, @channel@);
  if page_rows operator(pg_catalog.=) max_groups then
    next_cursor := group_ids[max_groups];
  end if;
end
$$;

-- Runs before a state with contents is inserted, as by a copy or a restore; the functions here insert only empty
-- states. Sets its counts to those of the existing members, and the triggers count later ones. If the members were
-- copied first, their trigger has already created a state, which takes over the contents of this one.
create or replace function @schema@.kojin_group_state_copied() returns pg_catalog.trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  update @schema@.kojin_group_state as state
  set
    total = new.total, initialised = new.initialised, restored = new.restored, declared = new.declared, ttl_ms = new.ttl_ms, deadline_ms = new.deadline_ms, completed_at = new.completed_at,
    done_xid = null, expires_at = new.expires_at, claim_token = new.claim_token, claimed_until = new.claimed_until
  where state.group_id operator(pg_catalog.=) new.group_id and state.claim_token is null
    -- If members were declared, their trigger has already set the total.
    and (not state.initialised or (state.declared and new.declared and state.total operator(pg_catalog.=) new.total));
  if found then
    perform @schema@.kojin_groups_count(array[new.group_id]);
    perform @schema@.kojin_groups_settle(array[new.group_id], tg_argv[0]);
    return null;
  end if;
  select
    pg_catalog.count(*) filter (where member.completed and member.result is not null)::int,
    pg_catalog.count(*) filter (where member.error is not null and (member.completed and member.result is not null) is not true)::int,
    pg_catalog.count(*) filter (
      where pg_catalog.starts_with(member.task_id::pg_catalog.text, new.group_id operator(pg_catalog.||) ':placeholder:'::pg_catalog.text)
    )::int
  into new.completed, new.failed, new.placeholders
  from @schema@.kojin_groups as member
  where member.group_id operator(pg_catalog.=) new.group_id and (member.position is not null or not new.declared);
  new.counted := true;
  -- It was completed elsewhere, so streams must not emit it as new.
  new.done_xid := null;
  return new;
end
$$;

-- By default every role may execute a function. roles.sql grants kojin_init_group, kojin_finish_members,
-- kojin_groups_prune and kojin_delete_group to the roles that need them. Writing to kojin_groups needs no right to the
-- trigger functions. With such a right, a role could use them as triggers of its own table and change the counts of any
-- group. The remaining functions are called only by these, as the owner.
revoke execute on function
  @schema@.kojin_groups_hold(pg_catalog.text[], boolean),
  @schema@.kojin_groups_change(pg_catalog.text[], int[], int[], int[], int[], int[], pg_catalog.text),
  @schema@.kojin_groups_settle(pg_catalog.text[], pg_catalog.text),
  @schema@.kojin_groups_count(pg_catalog.text[]),
  @schema@.kojin_groups_forget(pg_catalog.text[]),
  @schema@.kojin_groups_lock(pg_catalog.text[]),
  @schema@.kojin_groups_foreign_write(),
  @schema@.kojin_groups_recount(pg_catalog.text[], pg_catalog.text[], pg_catalog.text),
  @schema@.kojin_groups_add(pg_catalog.text[], int[], int[], int[], int[], int[], boolean, pg_catalog.text),
  @schema@.kojin_groups_count_insert(),
  @schema@.kojin_groups_count_update(),
  @schema@.kojin_groups_count_delete(),
  @schema@.kojin_groups_count_truncate(),
  @schema@.kojin_groups_count_states(),
  @schema@.kojin_init_group(pg_catalog.text, int, pg_catalog.text[], double precision, double precision, pg_catalog.text),
  @schema@.kojin_finish_members(pg_catalog.text[], pg_catalog.text[], pg_catalog.text[], pg_catalog.text[], double precision[]),
  @schema@.kojin_groups_number_page(pg_catalog.text, int),
  @schema@.kojin_groups_count_page(pg_catalog.text, int),
  @schema@.kojin_group_state_copied(),
  @schema@.kojin_groups_prune(int, double precision),
  @schema@.kojin_delete_group(pg_catalog.text, double precision)
from public;

-- Default privileges may have granted more: functions to roles of the host, or, as with `grant all`, TRIGGER on the
-- tables. A trigger of another role would run with the rights of each writer, including the functions above.
create or replace function @schema@.kojin_revoke_rights() returns pg_catalog.void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  revocation pg_catalog.text;
begin
  for revocation in
    with place as (
      select relnamespace as schema_id from pg_catalog.pg_class
      where oid operator(pg_catalog.=) $name$@schema@.kojin_groups$name$::pg_catalog.regclass
    ),
    held as (
      select procedure.proowner as owner, granted.grantee, pg_catalog.format('all on function %s', procedure.oid::pg_catalog.regprocedure) as rights
      from place
      join pg_catalog.pg_proc as procedure on procedure.pronamespace operator(pg_catalog.=) place.schema_id
      cross join lateral pg_catalog.aclexplode(coalesce(procedure.proacl, pg_catalog.acldefault('f', procedure.proowner))) as granted
      where pg_catalog.starts_with(procedure.proname::pg_catalog.text, 'kojin_')
        and procedure.proname operator(pg_catalog.<>) all (array[
          'kojin_announce', 'kojin_results_notify', 'kojin_results_foreign_update', 'kojin_late', 'kojin_check_due', 'kojin_end_each',
          'kojin_store_row', 'kojin_store_each', 'kojin_finish_each', 'kojin_check_id', 'kojin_check_ttl', 'kojin_failure', 'kojin_store', 'kojin_fail', 'kojin_store_outcome', 'kojin_complete_member', 'kojin_fail_member',
          'kojin_finish_member', 'kojin_emit', 'kojin_emit_each', 'kojin_expect'
        ])
        and not pg_catalog.starts_with(procedure.proname::pg_catalog.text, 'kojin_attached_')
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
$$;

select @schema@.kojin_revoke_rights();

-- @step Triggers of kojin_groups
-- From here on the members of every writer are counted.
create or replace trigger kojin_groups_foreign_insert before insert on @schema@.kojin_groups
for each row when (new.finished_seq is null and new.position is null) execute function @schema@.kojin_groups_foreign_write();

create or replace trigger kojin_groups_foreign_update before update of group_id, task_id, result, completed, error on @schema@.kojin_groups
for each row when (coalesce(new.finished_seq, 0) operator(pg_catalog.=) coalesce(old.finished_seq, 0)) execute function @schema@.kojin_groups_foreign_write();

create or replace trigger kojin_groups_count_insert after insert on @schema@.kojin_groups
referencing new table as new_rows for each statement execute function @schema@.kojin_groups_count_insert(@channel@);

create or replace trigger kojin_groups_count_update after update on @schema@.kojin_groups
referencing old table as old_rows new table as new_rows for each statement execute function @schema@.kojin_groups_count_update(@channel@);

create or replace trigger kojin_groups_count_delete after delete on @schema@.kojin_groups
referencing old table as old_rows for each statement execute function @schema@.kojin_groups_count_delete(@channel@);

create or replace trigger kojin_groups_count_truncate after truncate on @schema@.kojin_groups
for each statement execute function @schema@.kojin_groups_count_truncate(@channel@);

-- @step Triggers of kojin_group_state
create or replace trigger kojin_group_state_delete after delete on @schema@.kojin_group_state
referencing old table as old_rows for each statement execute function @schema@.kojin_groups_count_states(@channel@);

create or replace trigger kojin_group_state_truncate after truncate on @schema@.kojin_group_state
for each statement execute function @schema@.kojin_groups_count_states(@channel@);

create or replace trigger kojin_group_state_copied before insert on @schema@.kojin_group_state
for each row when (
  new.initialised or new.total is not null or new.completed_at is not null or new.completed operator(pg_catalog.>) 0 or new.failed operator(pg_catalog.>) 0
)
execute function @schema@.kojin_group_state_copied(@channel@);

-- @step Numbers of finished members
-- Sets the sequence beyond the numbers of members that have already finished. `alter sequence` locks it, so that no
-- other session takes a number in between.
do $$
declare
  highest bigint;
begin
  select pg_catalog.max(finished_seq) into highest from @schema@.kojin_groups where finished_seq is not null;
  if highest operator(pg_catalog.>) (select last_value from @schema@.kojin_group_seq) then
    alter sequence @schema@.kojin_group_seq cache 1;
    perform pg_catalog.setval($name$@schema@.kojin_group_seq$name$, greatest(highest, (select last_value from @schema@.kojin_group_seq)));
  end if;
end
$$;

-- @batches kojin_groups_number_page over kojin_groups: Members from before
-- @step Groups that begin from now on
-- Every group with members now has a state, so a new state has no members yet and is counted from the start. Writers
-- wait for the lock of this step, so all states from before it are visible to the next step.
alter table @schema@.kojin_group_state
  alter column counted set default true,
  alter column ttl_ms set default 86400000;

-- @batches kojin_groups_count_page over kojin_group_state: Counts of groups from before

-- @step Function that finishes members one by one
-- Finishes members so that each fails alone. Used after a statement for all members has failed, or may have. The arrays
-- have equal length and the meanings of kojin_finish_members; dues holds the times in seconds since 1970 after which a
-- member must not be written. kojin_store_each explains the other parameters and the columns that describe a failure.
create or replace function @schema@.kojin_finish_each(
  group_ids pg_catalog.text[], task_ids pg_catalog.text[], results pg_catalog.text[], errors pg_catalog.text[], called double precision[], dues double precision[],
  give_up double precision, one_by_one boolean, row_lock_ms int, lock_budget_ms int, commit_lock_ms int, notifies boolean
) returns table (
  place int, completed_count int, conflict pg_catalog.text,
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
  counts int[];
  conflicts pg_catalog.text[];
  cancelled_at timestamp with time zone := 'infinity'::timestamp with time zone;
begin
  perform
    pg_catalog.set_config('kojin.notify'::pg_catalog.text, case when notifies then ''::pg_catalog.text else 'off'::pg_catalog.text end, true),
    pg_catalog.set_config('lock_timeout'::pg_catalog.text, row_lock_ms::pg_catalog.text, true);
  if not one_by_one then
    begin
      perform @schema@.kojin_check_due((select pg_catalog.min(due) from pg_catalog.unnest(dues) as due));
      select pg_catalog.array_agg(finished.completed_count order by finished.place), pg_catalog.array_agg(finished.conflict order by finished.place)
      into counts, conflicts
      from @schema@.kojin_finish_members(group_ids, task_ids, results, errors, called) as finished;
      perform @schema@.kojin_check_due((select pg_catalog.min(due) from pg_catalog.unnest(dues) as due));
      is_done := true;
    exception when query_canceled or others then
      if sqlstate operator(pg_catalog.=) '57014'::pg_catalog.text then
        cancelled_at := pg_catalog.clock_timestamp();
      end if;
    end;
  end if;
  for i in 1 .. pg_catalog.cardinality(group_ids) loop
    place := i;
    completed_count := counts[i];
    conflict := conflicts[i];
    state := null;
    if not is_done and pg_catalog.clock_timestamp() operator(pg_catalog.>) (cancelled_at operator(pg_catalog.+) '250 milliseconds'::interval) then
      state := '57014';
      message := 'The statement was cancelled before this member.';
    elsif not is_done then
      begin
        perform @schema@.kojin_check_due(dues[i]);
        select finished.completed_count, finished.conflict into completed_count, conflict
        from @schema@.kojin_finish_members(group_ids[i : i], task_ids[i : i], results[i : i], errors[i : i], called[i : i]) as finished;
        perform @schema@.kojin_check_due(dues[i]);
      exception when query_canceled or others then
        get stacked diagnostics
          state = returned_sqlstate, message = message_text, detail = pg_exception_detail, hint = pg_exception_hint, context = pg_exception_context,
          schema_name = schema_name, table_name = table_name, column_name = column_name, type_name = pg_datatype_name, constraint_name = constraint_name;
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
