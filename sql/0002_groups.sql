-- Groups of tasks. The first four columns of kojin_groups are those of the Rust crate kojin-postgres 0.4: a table that it made is adopted with its rows, and it
-- goes on initialising and completing groups. Markers and @schema@ as in 0001_results.sql.

-- @step Tables of groups
create table if not exists @schema@.kojin_groups (
  group_id pg_catalog.text not null,
  task_id pg_catalog.text not null,
  result pg_catalog.jsonb,
  completed boolean default false,
  primary key (group_id, task_id)
);

-- One row for each group: its size, and how many of its members have finished. All writers of a group meet at the lock of this row, which they take before those
-- of members, so that they cannot deadlock over them. It is updated again and again, and finds room on its own page.
create table if not exists @schema@.kojin_group_state (
  group_id pg_catalog.text primary key,
  -- Null until it is known.
  total int,
  completed int not null default 0,
  failed int not null default 0,
  -- Whether initGroup has said the total; else it is the number of rows with which the crate says it, one for each member.
  initialised boolean not null default false,
  placeholders int not null default 0,
  -- Whether the members were named, so that others do not count.
  declared boolean not null default false,
  -- Milliseconds to live once it is done; null for ever. The last steps of this migration set the default to a day: groups from before never expire.
  ttl_ms double precision,
  -- Milliseconds it may stay open; null for ever.
  deadline_ms double precision,
  completed_at timestamp with time zone,
  -- The transaction in which it got done; null while it is open. Streams catch up by it, in the order of commits.
  done_xid pg_catalog.xid8,
  -- While it is open, its deadline.
  expires_at timestamp with time zone,
  claim_token pg_catalog.uuid,
  -- When the claim ends unless it is acknowledged; 'infinity' for one that is for good.
  claimed_until timestamp with time zone,
  -- Whether its members from before are counted. Until then nothing is added to its counts. The last steps of this migration count them and set the default to true.
  counted boolean not null default false
) with (fillfactor = 50);

-- Serves the deletion of expired groups.
create index if not exists kojin_group_state_expires on @schema@.kojin_group_state (expires_at) where expires_at is not null;
-- Serves the reading of the groups that nobody has claimed.
create index if not exists kojin_group_state_completed on @schema@.kojin_group_state (completed_at, group_id) where completed_at is not null;
-- Serves the read of the groups that got done since a snapshot.
create index if not exists kojin_group_state_done_xid on @schema@.kojin_group_state (done_xid) where done_xid is not null;

create sequence if not exists @schema@.kojin_group_seq;

-- @step Columns of kojin_groups
-- A member is completed if `completed` and the result is not null (what the crate counts); failed if it is not, and error is not null; else open.
-- position: the place in the declared order; null if the members were not declared.
-- finished_seq: in the order in which the members of a group finished. Taken under the lock of the group's row in kojin_group_state, so that within a group it
-- also is the order of the commits, and who has read up to a number has missed nothing below it.
alter table @schema@.kojin_groups
  add column if not exists error pg_catalog.jsonb,
  add column if not exists position int,
  add column if not exists finished_seq bigint;

-- @index kojin_groups_finished on kojin_groups
-- Serves the reading of the members that finished since a given one.
create index if not exists kojin_groups_finished on @schema@.kojin_groups (group_id, finished_seq) where finished_seq is not null;

-- @step Functions of groups
-- Plans within functions are made once for a session, maybe while a table is almost empty, and kept while it fills: then a batch of members read all of kojin_groups, and a member
-- took 20 us of the server's time among 10 000 rows and 110 among 200 000. The functions that others call therefore forbid the plans that read whole tables, for themselves and for what
-- they call; with that it is 19 in each case.

-- Takes the locks of groups, in the order of their ids, and makes the rows that are not there. Again if one was deleted between the two statements: whoever went on
-- without its lock would count into nothing.
create or replace function @schema@.kojin_groups_hold(group_ids text[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  wanted constant bigint := (select count(distinct id) from unnest(group_ids) as id);
  held bigint;
begin
  loop
    insert into @schema@.kojin_group_state (group_id) select distinct id from unnest(group_ids) as id order by id on conflict do nothing;
    select count(*) into held
    from (select from @schema@.kojin_group_state where group_id = any(group_ids) order by group_id for update) as locked;
    exit when held = wanted;
  end loop;
end
$$;

-- Before a row of a writer that knows only the crate's columns: takes the lock of the group, as every writer does first, and notes when the member finished. A success
-- written over a failure clears it. Rows from the functions below bring their own number. security definer: the crate's role has no right on the state.
create or replace function @schema@.kojin_groups_foreign_write() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
begin
  -- As kojin_groups_hold, but for one group: this runs for each row, and the general form took 6.2 s instead of 4.6 s for 100 000.
  loop
    insert into @schema@.kojin_group_state (group_id) values (new.group_id) on conflict do nothing;
    perform from @schema@.kojin_group_state where group_id = new.group_id for update;
    exit when found;
  end loop;
  if tg_op = 'UPDATE' and new.completed and new.result is not null and new.error is not distinct from old.error then
    new.error := null;
  end if;
  if new.finished_seq is null and (new.error is not null or (new.completed and new.result is not null)) then
    new.finished_seq := nextval($name$@schema@.kojin_group_seq$name$);
  end if;
  return new;
end
$$;

-- Marks those of the groups done that are, and announces them all: 'done' once for each group, when it gets done, 'groups' for every change. The caller holds their locks.
create or replace function @schema@.kojin_groups_settle(group_ids text[], channel text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  is_loud constant boolean := current_setting('kojin.notify', true) is distinct from 'off';
  done_ids text[];
begin
  with done as (
    update @schema@.kojin_group_state
    set completed_at = clock_timestamp(), done_xid = pg_catalog.pg_current_xact_id(), expires_at = clock_timestamp() + ttl_ms * interval '1 millisecond'
    where group_id = any(group_ids) and completed_at is null and completed + failed >= total
    returning group_id
  )
  select array(select group_id from done) into done_ids;
  -- The crate says the total row by row: what was complete may turn out not to be.
  update @schema@.kojin_group_state
  set completed_at = null, done_xid = null, expires_at = null
  where group_id = any(group_ids) and completed_at is not null and completed + failed < total;
  if is_loud and cardinality(done_ids) > 0 then
    perform @schema@.kojin_announce(channel, 'done', array(select to_json(id)::text from unnest(done_ids) as id));
  end if;
  if is_loud and cardinality(group_ids) > cardinality(done_ids) then
    perform @schema@.kojin_announce(channel, 'groups', array(select to_json(id)::text from unnest(group_ids) as id where id <> all(done_ids)));
  end if;
end
$$;

-- Adds changes to the state of their groups, one update for each group, and settles them. Five arrays of equal length: the group, and what to add to its completed and
-- failed members, to those of them that were declared, and to its placeholders. The locks are usually held already; taking them here too makes the counts right even
-- where the trigger before rows is disabled.
create or replace function @schema@.kojin_groups_add(
  group_ids text[], completed_by int[], failed_by int[], completed_declared_by int[], failed_declared_by int[], placeholders_by int[], channel text
) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform @schema@.kojin_groups_hold(group_ids);
  update @schema@.kojin_group_state as state
  set
    completed = state.completed + case when state.declared then added.completed_declared else added.completed end,
    failed = state.failed + case when state.declared then added.failed_declared else added.failed end,
    placeholders = state.placeholders + added.placeholders,
    total = case when state.initialised then state.total else nullif(state.placeholders + added.placeholders, 0) end
  from unnest(group_ids, completed_by, failed_by, completed_declared_by, failed_declared_by, placeholders_by)
    as added (group_id, completed, failed, completed_declared, failed_declared, placeholders)
  where state.group_id = added.group_id and state.counted;
  perform @schema@.kojin_groups_settle(group_ids, channel);
end
$$;

-- After an INSERT: counts what came, whoever wrote it. security definer, as above.
create or replace function @schema@.kojin_groups_count_insert() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  perform @schema@.kojin_groups_add(
    array_agg(group_id), array_agg(completed), array_agg(failed), array_agg(completed_declared), array_agg(failed_declared), array_agg(placeholders),
    tg_argv[0]
  )
  from (
    select
      group_id,
      count(*) filter (where completed and result is not null)::int as completed,
      count(*) filter (where error is not null and (completed and result is not null) is not true)::int as failed,
      count(*) filter (where completed and result is not null and position is not null)::int as completed_declared,
      count(*) filter (where error is not null and (completed and result is not null) is not true and position is not null)::int as failed_declared,
      count(*) filter (where completed is not true and error is null and starts_with(task_id, group_id || ':placeholder:'))::int as placeholders
    from new_rows
    group by group_id
  ) as added
  where completed > 0 or failed > 0 or placeholders > 0
  having count(*) > 0;
  return null;
end
$$;

-- After an UPDATE: counts what changed. A row weighs 1 as it is now and -1 as it was, so rows need not be matched.
create or replace function @schema@.kojin_groups_count_update() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  perform @schema@.kojin_groups_add(
    array_agg(sums.group_id), array_agg(added.completed), array_agg(added.failed), array_agg(added.completed_declared), array_agg(added.failed_declared), array_agg(0),
    tg_argv[0]
  )
  from (
    select
      group_id,
      sum(weight) filter (where completed and result is not null)::int as completed,
      sum(weight) filter (where error is not null and (completed and result is not null) is not true)::int as failed,
      sum(weight) filter (where completed and result is not null and position is not null)::int as completed_declared,
      sum(weight) filter (where error is not null and (completed and result is not null) is not true and position is not null)::int as failed_declared
    from (
      select 1 as weight, group_id, completed, result, error, position from new_rows
      union all
      select -1, group_id, completed, result, error, position from old_rows
    ) as weighed
    group by group_id
  ) as sums,
  lateral (
    select coalesce(sums.completed, 0), coalesce(sums.failed, 0), coalesce(sums.completed_declared, 0), coalesce(sums.failed_declared, 0)
  ) as added (completed, failed, completed_declared, failed_declared)
  where added.completed <> 0 or added.failed <> 0
  having count(*) > 0;
  return null;
end
$$;

-- Locks groups, in the order of their ids, and forgets those that have expired, which count as absent. Every function below begins with it.
create or replace function @schema@.kojin_groups_lock(group_ids text[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  expired_ids text[];
  uncounted_ids text[];
begin
  perform @schema@.kojin_groups_hold(group_ids);
  select array(select group_id from @schema@.kojin_group_state where group_id = any(group_ids) and expires_at <= clock_timestamp()) into expired_ids;
  if cardinality(expired_ids) > 0 then
    delete from @schema@.kojin_groups where group_id = any(expired_ids);
    delete from @schema@.kojin_group_state where group_id = any(expired_ids);
    insert into @schema@.kojin_group_state (group_id) select id from unnest(expired_ids) as id order by id;
  end if;
  select array(select group_id from @schema@.kojin_group_state where group_id = any(group_ids) and not counted) into uncounted_ids;
  if cardinality(uncounted_ids) > 0 then
    perform @schema@.kojin_groups_count(uncounted_ids);
  end if;
end
$$;

-- Says how large a group is (member_count), or which members it has (member_ids, in their order). Returns null, or why not: 'total' (it was initialised with another),
-- 'members' (with others, or others have finished), 'overflow' (more members have finished). security definer, and the next one too: who may finish members needs no
-- right to read, count or delete them by hand.
create or replace function @schema@.kojin_init_group(id text, member_count int, member_ids text[], ttl float8, deadline float8, channel text) returns text
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  state @schema@.kojin_group_state;
begin
  perform @schema@.kojin_groups_lock(array[id]);
  select * into strict state from @schema@.kojin_group_state where group_id = id;
  if state.initialised then
    if state.total <> member_count then
      return 'total';
    end if;
    if member_ids is not null and member_ids is distinct from array(
      select task_id from @schema@.kojin_groups where group_id = id and position is not null order by position
    ) then
      return 'members';
    end if;
    return null;
  end if;
  if state.placeholders > member_count then
    return 'total';
  end if;
  if member_ids is null then
    if state.completed + state.failed > member_count then
      return 'overflow';
    end if;
  else
    if exists (
      select from @schema@.kojin_groups
      where group_id = id and finished_seq is not null and task_id not in (select unnest(member_ids))
    ) then
      return 'members';
    end if;
    insert into @schema@.kojin_groups as member (group_id, task_id, completed, position)
    select id, task_id, false, place from unnest(member_ids) with ordinality as declared (task_id, place) order by task_id
    on conflict (group_id, task_id) do update set position = excluded.position;
  end if;
  update @schema@.kojin_group_state
  set
    total = member_count,
    initialised = true,
    declared = member_ids is not null,
    ttl_ms = ttl,
    deadline_ms = deadline,
    expires_at = clock_timestamp() + deadline * interval '1 millisecond'
  where group_id = id;
  perform @schema@.kojin_groups_settle(array[id], channel);
  return null;
end
$$;

-- Finishes members: arrays of equal length with the group, the task, the result and the failure (one of the two is null), as JSON text. A pair of group and task is there once.
-- Returns for each, by its place, how many members of its group are then completed, or why it was not taken: 'members' (declared are others), 'overflow' (it has as many
-- as it may). First completions are numbered one by one; a repeated one is told the present number. A failure does not replace a success.
create or replace function @schema@.kojin_finish_members(group_ids text[], task_ids text[], results text[], errors text[])
returns table (place int, completed_count int, conflict text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  perform @schema@.kojin_groups_lock(group_ids);
  return query
  with given as (
    select
      input.place::int as place, input.group_id, input.task_id, input.result::jsonb as result, input.error::jsonb as error,
      state.completed as completed_before, state.declared, member.position,
      coalesce(member.completed and member.result is not null, false) as was_completed,
      case
        when member.finished_seq is not null or state.declared or not state.initialised then null
        else state.total - state.completed - state.failed
      end as room
    from unnest(group_ids, task_ids, results, errors) with ordinality as input (group_id, task_id, result, error, place)
    join @schema@.kojin_group_state as state using (group_id)
    left join @schema@.kojin_groups as member on member.group_id = input.group_id and member.task_id = input.task_id
  ),
  judged as (
    select
      given.*,
      case
        when given.declared and given.position is null then 'members'
        when given.room is not null and row_number() over (partition by given.group_id, given.room is null order by given.place) > given.room then 'overflow'
      end as reason
    from given
  ),
  written as (
    insert into @schema@.kojin_groups as member (group_id, task_id, result, error, completed, finished_seq)
    select ordered.group_id, ordered.task_id, ordered.result, ordered.error, ordered.error is null, nextval($name$@schema@.kojin_group_seq$name$)
    from (
      select * from judged where reason is null and (judged.error is null or not was_completed) order by judged.place
    ) as ordered
    on conflict (group_id, task_id) do update
      set
        result = excluded.result, error = excluded.error, completed = excluded.completed,
        finished_seq = coalesce(member.finished_seq, excluded.finished_seq)
  )
  select
    judged.place,
    case
      when judged.error is null and not was_completed and reason is null
      then completed_before + count(*) filter (where judged.error is null and not was_completed and reason is null)
        over (partition by judged.group_id order by judged.place)
      else completed_before + count(*) filter (where judged.error is null and not was_completed and reason is null) over (partition by judged.group_id)
    end::int,
    reason
  from judged
  order by judged.place;
end
$$;

-- Counts groups from the rows of their members. The caller holds their locks, and settles them.
create or replace function @schema@.kojin_groups_count(group_ids pg_catalog.text[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  update @schema@.kojin_group_state as state
  set
    completed = found.completed,
    failed = found.failed,
    placeholders = found.placeholders,
    total = case when state.initialised then state.total else nullif(found.placeholders, 0) end,
    counted = true
  from (
    select
      existing.group_id,
      pg_catalog.count(*) filter (where member.completed and member.result is not null)::int as completed,
      pg_catalog.count(*) filter (where member.error is not null and (member.completed and member.result is not null) is not true)::int as failed,
      pg_catalog.count(*) filter (
        where member.completed is not true and member.error is null
          and pg_catalog.starts_with(member.task_id::pg_catalog.text, existing.group_id operator(pg_catalog.||) ':placeholder:'::pg_catalog.text)
      )::int as placeholders
    from @schema@.kojin_group_state as existing
    left join @schema@.kojin_groups as member
      on member.group_id operator(pg_catalog.=) existing.group_id and (member.position is not null or not existing.declared)
    where existing.group_id operator(pg_catalog.=) any (group_ids)
    group by existing.group_id
  ) as found
  where state.group_id operator(pg_catalog.=) found.group_id;
end
$$;

-- Gives a page of members what writers without the triggers have left out: a state for their groups, and a number for those that have finished. In the order of the primary
-- key. after_key: null, or the next_cursor of the page before, which is null after the last page.
create or replace function @schema@.kojin_groups_number_page(after_key pg_catalog.text, max_rows int, out next_cursor pg_catalog.text, out page_rows int)
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
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
  -- Before their members, as every writer does.
  perform @schema@.kojin_groups_hold(group_ids);
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

-- Counts a page of groups that are not done, and settles them. A group that was done stays so, and one that has expired stays absent. Arguments as above.
create or replace function @schema@.kojin_groups_count_page(after_key pg_catalog.text, max_rows int, out next_cursor pg_catalog.text, out page_rows int)
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
declare
  -- Each may have many members.
  max_groups constant int := greatest(1, max_rows operator(pg_catalog./) 4);
  group_ids pg_catalog.text[];
begin
  select pg_catalog.array_agg(page.group_id) into group_ids
  from (
    select state.group_id
    from @schema@.kojin_group_state as state
    where state.group_id operator(pg_catalog.>) coalesce(after_key, '') and state.completed_at is null
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

-- Before a state is inserted that says something of its group: a copy or a restore, since the functions here insert empty rows. Its counts become those of the members that
-- are there, and the triggers count those that follow. Where members came first, their trigger has made a row, which takes over the rest.
create or replace function @schema@.kojin_group_state_copied() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  update @schema@.kojin_group_state as state
  set
    total = new.total, initialised = new.initialised, declared = new.declared, ttl_ms = new.ttl_ms, deadline_ms = new.deadline_ms, completed_at = new.completed_at,
    done_xid = null, expires_at = new.expires_at, claim_token = new.claim_token, claimed_until = new.claimed_until
  where state.group_id operator(pg_catalog.=) new.group_id and not state.initialised and state.claim_token is null;
  if found then
    perform @schema@.kojin_groups_count(array[new.group_id]);
    perform @schema@.kojin_groups_settle(array[new.group_id], tg_argv[0]);
    return null;
  end if;
  select
    pg_catalog.count(*) filter (where member.completed and member.result is not null)::int,
    pg_catalog.count(*) filter (where member.error is not null and (member.completed and member.result is not null) is not true)::int,
    pg_catalog.count(*) filter (
      where member.completed is not true and member.error is null
        and pg_catalog.starts_with(member.task_id::pg_catalog.text, new.group_id operator(pg_catalog.||) ':placeholder:'::pg_catalog.text)
    )::int
  into new.completed, new.failed, new.placeholders
  from @schema@.kojin_groups as member
  where member.group_id operator(pg_catalog.=) new.group_id and (member.position is not null or not new.declared);
  new.counted := true;
  -- It got done elsewhere: streams do not show it as new.
  new.done_xid := null;
  return new;
end
$$;

-- By default everybody may execute a function. What is security definer is for those it is granted to (see roles.sql); of the trigger functions nobody needs the right
-- to write to kojin_groups, but who has it can put them on a table of his own, and count into any group. The others run as the owner by way of these alone.
revoke execute on function
  @schema@.kojin_groups_hold(text[]),
  @schema@.kojin_groups_foreign_write(),
  @schema@.kojin_groups_settle(text[], text),
  @schema@.kojin_groups_add(text[], int[], int[], int[], int[], int[], text),
  @schema@.kojin_groups_count_insert(),
  @schema@.kojin_groups_count_update(),
  @schema@.kojin_groups_lock(text[]),
  @schema@.kojin_init_group(text, int, text[], float8, float8, text),
  @schema@.kojin_finish_members(text[], text[], text[], text[]),
  @schema@.kojin_groups_count(text[]),
  @schema@.kojin_groups_number_page(text, int),
  @schema@.kojin_groups_count_page(text, int),
  @schema@.kojin_group_state_copied()
from public;

-- Default privileges may have granted more: functions to roles of the host, and TRIGGER on the tables, as `grant all` does. A trigger of another role would run with the
-- rights of each writer, the functions above included.
do $$
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
        and procedure.proname operator(pg_catalog.<>) all (array['kojin_announce', 'kojin_results_notify', 'kojin_results_foreign_update'])
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

-- @step Triggers of kojin_groups
-- From here on members are counted, for every writer.
create or replace trigger kojin_groups_foreign_insert before insert on @schema@.kojin_groups
for each row when (new.finished_seq is null and new.position is null) execute function @schema@.kojin_groups_foreign_write();

create or replace trigger kojin_groups_foreign_update before update of result, completed, error on @schema@.kojin_groups
for each row when (coalesce(new.finished_seq, 0) operator(pg_catalog.=) coalesce(old.finished_seq, 0)) execute function @schema@.kojin_groups_foreign_write();

create or replace trigger kojin_groups_count_insert after insert on @schema@.kojin_groups
referencing new table as new_rows for each statement execute function @schema@.kojin_groups_count_insert(@channel@);

create or replace trigger kojin_groups_count_update after update on @schema@.kojin_groups
referencing old table as old_rows new table as new_rows for each statement execute function @schema@.kojin_groups_count_update(@channel@);

-- @step Trigger of kojin_group_state
create or replace trigger kojin_group_state_copied before insert on @schema@.kojin_group_state
for each row when (
  new.initialised or new.total is not null or new.completed_at is not null or new.completed operator(pg_catalog.>) 0 or new.failed operator(pg_catalog.>) 0
)
execute function @schema@.kojin_group_state_copied(@channel@);

-- @step Numbers of finished members
-- Where members were finished before, the next number is beyond theirs. To alter the sequence keeps others from taking a number meanwhile.
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
-- Each group with members has a state by now, so what has none has no members. Its writers wait for this lock, so each state from before it is there to be counted.
alter table @schema@.kojin_group_state
  alter column counted set default true,
  alter column ttl_ms set default 86400000;

-- @batches kojin_groups_count_page over kojin_group_state: Counts of groups from before
