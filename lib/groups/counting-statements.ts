import { escapeIdentifier } from "pg";

/** The SQL by which writers count members themselves, where the schema has no triggers; made once for a schema. To be run in this order, in one transaction. */
export interface CountingStatements {
  readonly isCounting: string;
  readonly hold: string;
  readonly ensure: string;
  readonly lock: string;
  readonly forgetMembers: string;
  readonly forget: string;
  readonly members: string;
  readonly write: string;
  readonly count: string;
  readonly declared: string;
  readonly finished: string;
  readonly declare: string;
  readonly initialise: string;
}

export function countingStatements(schema: string): CountingStatements {
  const name = escapeIdentifier(schema);
  const [states, members] = [`${name}.kojin_group_state`, `${name}.kojin_groups`];
  // Not there where there are triggers. Its lock, which every statement takes that names it, keeps them from being added until the transaction ends.
  const marker = `${name}.kojin_counted_by_writers`;
  const getsDone =
    "state.completed_at is null and state.completed + given.completed + state.failed + given.failed >= state.total";
  return {
    // $1 text schema. Returns a row if the schema has no triggers; asks the catalog, since a table that is missing would end the caller's transaction.
    isCounting: `
      select 1 from pg_catalog.pg_class as relation
      join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
      where namespace.nspname = $1::text and relation.relname = 'kojin_counted_by_writers'`,

    // Fails where there are triggers (SQLSTATE 42P01), and else keeps them away.
    hold: `select 1 from ${marker}`,

    // $1 text[] groups. Makes the rows that are not there, in the order in which they are locked. Fails where there are triggers, too.
    ensure: `
      insert into ${states} (group_id)
      select group_id from unnest($1::text[]) as given (group_id)
      where not exists (select 1 from ${marker})
      order by group_id
      on conflict (group_id) do nothing`,

    // $1 text[] groups. Locks them, in the order of their ids, and returns how they are.
    lock: `
      select group_id, total, completed, failed, initialised, placeholders, declared, coalesce(expires_at <= clock_timestamp(), false) as expired
      from ${states}
      where group_id = any($1::text[])
      order by group_id
      for update`,

    // $1 text[] groups that have expired, and so count as absent.
    forgetMembers: `delete from ${members} where group_id = any($1::text[])`,
    forget: `
      update ${states}
      set total = default, completed = default, failed = default, initialised = default, placeholders = default, declared = default, ttl_ms = default,
        deadline_ms = default, completed_at = default, expires_at = default, claim_token = default, claimed_until = default
      where group_id = any($1::text[])`,

    // $1 text[] groups and $2 text[] tasks, in pairs. Returns those members that are there.
    members: `
      select member.group_id, member.task_id, (member.completed and member.result is not null) as completed, member.position is not null as declared,
        member.finished_seq::text as finished_seq
      from unnest($1::text[], $2::text[]) as given (group_id, task_id)
      join ${members} as member on member.group_id = given.group_id and member.task_id = given.task_id`,

    // $1 text[] groups, $2 text[] tasks, $3 text[] results and $4 text[] failures as JSON text, $5 bigint[] places among those that finished.
    write: `
      insert into ${members} (group_id, task_id, result, error, completed, finished_seq)
      select group_id, task_id, result::jsonb, error::jsonb, error is null, finished_seq
      from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[]) as given (group_id, task_id, result, error, finished_seq)
      on conflict (group_id, task_id) do update
        set result = excluded.result, error = excluded.error, completed = excluded.completed, finished_seq = excluded.finished_seq`,

    // $1 text[] groups, $2 int[] and $3 int[] what to add to their completed and failed members. Gets those done that are.
    count: `
      update ${states} as state
      set
        completed = state.completed + given.completed,
        failed = state.failed + given.failed,
        completed_at = case when ${getsDone} then clock_timestamp() else state.completed_at end,
        expires_at = case when ${getsDone} then clock_timestamp() + state.ttl_ms * interval '1 millisecond' else state.expires_at end
      from unnest($1::text[], $2::int[], $3::int[]) as given (group_id, completed, failed)
      where state.group_id = given.group_id`,

    // $1 text group. The members it was declared with, in their order.
    declared: `select task_id from ${members} where group_id = $1::text and position is not null order by position`,

    // $1 text group, $2 int rows. Members that finished.
    finished: `select task_id from ${members} where group_id = $1::text and finished_seq is not null limit $2::int`,

    // $1 text group, $2 text[] tasks, $3 int[] places.
    declare: `
      insert into ${members} (group_id, task_id, completed, position)
      select $1::text, task_id, false, place from unnest($2::text[], $3::int[]) as given (task_id, place)
      on conflict (group_id, task_id) do update set position = excluded.position`,

    // $1 text group, $2 int total, $3 boolean whether its members are declared, $4 float8 and $5 float8 ms to live and until the deadline, or null.
    initialise: `
      update ${states} as state
      set
        total = $2::int, initialised = true, declared = $3::boolean, ttl_ms = $4::float8, deadline_ms = $5::float8,
        completed_at = case when state.completed + state.failed >= $2::int then coalesce(state.completed_at, clock_timestamp()) end,
        expires_at = clock_timestamp() + case when state.completed + state.failed >= $2::int then $4::float8 else $5::float8 end * interval '1 millisecond'
      where state.group_id = $1::text`,
  };
}
