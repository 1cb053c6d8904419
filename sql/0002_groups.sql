-- Groups of tasks. The first four columns of kojin_groups are those of the Rust crate kojin-postgres 0.4: a table that it made is adopted with its rows, and it
-- goes on initialising and completing groups.

create table if not exists @schema@.kojin_groups (
  group_id text not null,
  task_id text not null,
  result jsonb,
  completed boolean default false,
  primary key (group_id, task_id)
);

-- A member is completed if `completed` and the result is not null (what the crate counts); failed if it is not, and error is not null; else open.
-- position: the place in the declared order; null if the members were not declared.
-- finished_seq: in the order in which the members of a group finished. Taken under the lock of the group's row in kojin_group_state, so that within a group it
-- also is the order of the commits, and who has read up to a number has missed nothing below it.
alter table @schema@.kojin_groups
  add column if not exists error jsonb,
  add column if not exists position int,
  add column if not exists finished_seq bigint;

-- Serves the reading of the members that finished since a given one.
create index if not exists kojin_groups_finished on @schema@.kojin_groups (group_id, finished_seq) where finished_seq is not null;

-- One row for each group: its size, and how many of its members have finished. All writers of a group meet at the lock of this row, which they take before those
-- of members, so that they cannot deadlock over them.
create table if not exists @schema@.kojin_group_state (
  group_id text primary key,
  -- Null until it is known.
  total int,
  completed int not null default 0,
  failed int not null default 0,
  -- Whether initGroup has said the total; else it is the number of rows with which the crate says it, one for each member.
  initialised boolean not null default false,
  placeholders int not null default 0,
  -- Whether the members were named, so that others do not count.
  declared boolean not null default false,
  -- Milliseconds to live once it is done; null for ever.
  ttl_ms float8 default 86400000,
  -- Milliseconds it may stay open; null for ever.
  deadline_ms float8,
  completed_at timestamptz,
  -- While it is open, its deadline.
  expires_at timestamptz,
  claim_token uuid,
  -- When the claim ends unless it is acknowledged; 'infinity' for one that is for good.
  claimed_until timestamptz
);

-- Serves the deletion of expired groups.
create index if not exists kojin_group_state_expires on @schema@.kojin_group_state (expires_at) where expires_at is not null;
-- Serves the reading of the groups that got done since a given time, and of those that nobody has claimed.
create index if not exists kojin_group_state_completed on @schema@.kojin_group_state (completed_at, group_id) where completed_at is not null;

-- What the crate has left here: its groups get their state. They never expire, as they did not before.
insert into @schema@.kojin_group_state (group_id, total, placeholders, completed, completed_at, ttl_ms)
select group_id, nullif(placeholders, 0), placeholders, finished, case when placeholders between 1 and finished then now() end, null
from (
  select
    group_id,
    sum(case when completed and result is not null then 1 else 0 end)::int as finished,
    sum(case when completed is not true and left(task_id, length(group_id) + 13) = group_id || ':placeholder:' then 1 else 0 end)::int as placeholders
  from @schema@.kojin_groups
  group by group_id
) as found
on conflict (group_id) do nothing;

update @schema@.kojin_groups as member
set finished_seq = numbered.place + coalesce((select max(other.finished_seq) from @schema@.kojin_groups as other where other.group_id = member.group_id), 0)
from (
  select group_id, task_id, row_number() over (partition by group_id order by task_id) as place
  from @schema@.kojin_groups
  where completed and result is not null and finished_seq is null
) as numbered
where member.group_id = numbered.group_id and member.task_id = numbered.task_id and member.finished_seq is null;
