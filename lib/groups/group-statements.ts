import { escapeIdentifier } from "pg";
import { lockTimeoutSetting } from "../database/database";
import type { ResolvedOptions } from "../options";
import { rowLockTimeoutMs } from "../results/attempts";
import { boundedText, estimatedBytes, isInTime, readBudgetBytes, setting, writtenBy } from "../results/expressions";
import { commitStatements } from "../results/table-commits";
import { failureColumns } from "../results/write-errors";
import { maxTextBytes } from "../value/encoding";

/** The SQL for groups, created once per schema. */
export type GroupStatements = ReturnType<typeof groupStatements>;

type Progress = [total: number | null, completed: number, failed: number, done: boolean];
export type ProgressRow = [groupId: string, ...Progress];

export type GroupRow = [
  ...ProgressRow,
  deadlineMs: string | null,
  leftMs: string | null,
  /** True if it was done more than a second ago. */
  isOld: boolean,
  doneXid: string | null,
  settlesMs: string | null,
  isDeclaredLate: boolean,
];

export type MemberRow = [
  ...Progress,
  taskId: string | null,
  value: string | null,
  isFailed: boolean | null,
  position: number | null,
  finishedSeq: string | null,
  candidates: number | null,
];

const isCompleted = "member.completed and member.result is not null";
// A foreign writer can leave an error in a member that it completes; the member then counts as completed.
const isFailed = `member.error is not null and (${isCompleted}) is not true`;
// Once members are declared, no others count.
const counts = "(not state.declared or member.position is not null)";
const isKnown =
  "(state.total is not null or (state.completed operator(pg_catalog.+) state.failed) operator(pg_catalog.>) 0)";
// The current time rather than that of the statement, which may have waited for a lock.
const clock = "(select pg_catalog.clock_timestamp() as time) as clock";
const isAlive = "(state.expires_at is null or state.expires_at operator(pg_catalog.>) clock.time)";
// The Rust crate declares a group row by row, so a group that looks complete may still get another row (see
// kojin_groups_change in sql/0002_groups.sql). If more than that quiet time is left, the server's clock was set back.
const latestSettled = "(clock.time operator(pg_catalog.+) interval '500 milliseconds')";
const isSettling = `(not state.initialised and state.completed_at operator(pg_catalog.>) clock.time
  and state.completed_at operator(pg_catalog.<=) ${latestSettled})`;
const isDone = `(state.completed_at is not null and ${isSettling} is not true)`;
const progress = `state.total, state.completed, state.failed, ${isDone}`;
const isUnclaimed = "(state.claimed_until is null or state.claimed_until operator(pg_catalog.<=) clock.time)";

// Durations are numeric: how many digits of a double arrive depends on extra_float_digits of the session.
const msUntil = (time: string): string =>
  `(pg_catalog.date_part('epoch'::pg_catalog.text, ${time} operator(pg_catalog.-) clock.time)
    operator(pg_catalog.*) 1000::double precision)::numeric::pg_catalog.text`;

export function groupStatements(options: ResolvedOptions) {
  const name = escapeIdentifier(options.schema);
  const groups = `${name}.kojin_group_state as state cross join ${clock}`;
  const openGroups = (condition: string): string => `
        (
          select state.group_id, ${progress}
          from ${groups}
          where ${condition} and ${isAlive}
          order by state.group_id
          limit $1::int
        )`;
  return {
    ...memberStatements(name, maxTextBytes(options.maxResultBytes)),
    ...writeStatements(name, rowLockTimeoutMs(options)),
    ...claimStatements(name),

    // $1 text[] groups. Returns a `GroupRow` for each that is known.
    read: `
      select state.group_id, ${progress}, state.deadline_ms::numeric::pg_catalog.text, ${msUntil("state.expires_at")},
        coalesce(state.completed_at operator(pg_catalog.<)
          (pg_catalog.statement_timestamp() operator(pg_catalog.-) interval '1 second'), false),
        state.done_xid::pg_catalog.text, case when ${isSettling} then ${msUntil("state.completed_at")} end,
        state.placeholders_late
      from ${groups}
      where state.group_id operator(pg_catalog.=) any ($1::pg_catalog.text[]) and ${isKnown} and ${isAlive}`,

    commits: commitStatements({
      table: groups,
      key: "state.group_id",
      xid: "state.done_xid",
      time: "state.completed_at",
      // A settling group is done later, but a later look would not find the transaction that completed it.
      latest: latestSettled,
      isThere: isAlive,
    }),

    // $1 text group. Returns the number of its members, which may be more than have finished.
    size: `
      select greatest(state.total, state.completed operator(pg_catalog.+) state.failed)
      from ${name}.kojin_group_state as state
      where state.group_id operator(pg_catalog.=) $1::pg_catalog.text`,

    // $1 text group, $2 float8 server time from which it must not delete, $3 float8 time of the call, after which a
    // group is kept, or null. Returns true if there was a group.
    deletion: `
      select deleted, ${isInTime(name, "$2")}
      from ${name}.kojin_delete_group(
        case when ${isInTime(name, "$2")} then $1::pg_catalog.text end, $3::double precision
      ) as deleted`,

    // $1 int rows. Returns known groups that are not done, by id. Groups that lack members have an index of their own;
    // groups that settle are found by the time at which they will be done.
    open: `
      select known.*
      from (${openGroups(`state.completed_at is null and ${isKnown}`)}
        union all${openGroups(
          `state.completed_at operator(pg_catalog.>) pg_catalog.statement_timestamp() and ${isSettling}`,
        )}
      ) as known
      order by known.group_id
      limit $1::int`,

    // $1 int most groups, $2 float8 ms since they expired. Deletes expired groups with their members. Returns a row for
    // each group.
    prune: `
      select true
      from pg_catalog.generate_series(1, ${name}.kojin_groups_prune($1::int, $2::double precision))`,
  };
}

/**
 * Pages of members. $1 text group, $2 the place after which to begin: a task, or for finished members a bigint number,
 * $3 int rows. Returns a {@link MemberRow} for each, with the progress of the group in the same snapshot; one row with
 * nulls if no members are left; none if the group is absent.
 */
function memberStatements(schema: string, maxBytes: number) {
  // A page has as many members as fit into the byte budget by estimate, but at least one. Its last column is the number
  // of members without the budget. A text that is too long is null.
  const page = (condition: string, order: "task_id" | "finished_seq"): string => `
      select ${progress}, page.task_id, page.value, page.is_failed, page.position,
        page.finished_seq::pg_catalog.text, page.candidates::int
      from ${schema}.kojin_group_state as state cross join ${clock} left join lateral (
        select summed.task_id, ${boundedText("summed.value", maxBytes)} as value, summed.is_failed, summed.position,
          summed.finished_seq, summed.candidates
        from (
          select measured.*, pg_catalog.count(*) over () as candidates,
            pg_catalog.sum(measured.bytes) over (order by measured.${order} rows unbounded preceding)
              operator(pg_catalog.-) measured.bytes as bytes_before
          from (
            select found.*, ${estimatedBytes("found.value")}::bigint as bytes
            from (
              select member.task_id::pg_catalog.text as task_id, (${isFailed}) as is_failed,
                case when ${isFailed} then member.error else member.result end as value,
                member.position, member.finished_seq
              from ${schema}.kojin_groups as member
              where member.group_id operator(pg_catalog.=) state.group_id and ${condition} and ${counts}
              order by member.${order}
              limit $3::int
            ) as found
          ) as measured
        ) as summed
        where summed.bytes_before operator(pg_catalog.<) ${readBudgetBytes}
      ) as page on true
      where state.group_id operator(pg_catalog.=) $1::pg_catalog.text and ${isKnown} and ${isAlive}
      order by page.${order}`;
  const isAfterTask = "member.task_id operator(pg_catalog.>) $2::pg_catalog.text";
  return {
    completedMembers: page(`${isAfterTask} and ${isCompleted}`, "task_id"),
    failedMembers: page(`${isAfterTask} and ${isFailed}`, "task_id"),
    finishedMembers: page("member.finished_seq operator(pg_catalog.>) $2::bigint", "finished_seq"),
  };
}

/** Statements that call the functions of sql/0002_groups.sql for writers. */
function writeStatements(schema: string, lockTimeoutMs: number) {
  const text = "pg_catalog.text";
  const float8 = "double precision";
  const inTime = (fence: string): string =>
    `case when ${fence}::${float8} is null then true else ${isInTime(schema, fence)} end`;
  // A condition for an argument, so that it is evaluated before the call: always true, and changes settings for it. A
  // caller's transaction keeps its own.
  const isSet = (fence: string, notifies: string): string => {
    const notify = setting("kojin.notify", `case when ${notifies}::boolean then '' else 'off' end`);
    return `case when ${fence}::${float8} is null then true
      else pg_catalog.concat(${isInTime(schema, fence)}, ${lockTimeoutSetting(lockTimeoutMs)}, ${notify}) is not null end`;
  };
  const isLast = "place operator(pg_catalog.=) pg_catalog.cardinality($2::pg_catalog.text[])";
  return {
    // $1 text group, $2 int total, $3 text[] ids or null, $4 float8 ms to live or null, $5 float8 ms until the deadline
    // or null, $6 text channel, $7 float8 server time from which it must not write, or null in the caller's
    // transaction, $8 boolean true if triggers notify. Returns null, or the conflict.
    init: `
      select conflict, ${inTime("$7")}
      from ${schema}.kojin_init_group(
        case when ${isSet("$7", "$8")} then $1::${text} end,
        $2::int, $3::${text}[], $4::${float8}, $5::${float8}, $6::${text}
      ) as conflict`,

    // $1 text[] groups, $2 text[] tasks, $3 text[] results and $4 text[] failures, one of which is '', $5 float8 server
    // time from which it must not write, or null in the caller's transaction, $6 boolean true if triggers notify, $7
    // float8[] times of the calls, after which stored members are kept, or null. Returns in order the number of
    // completed members, or the conflict. Only the last row has the time, since converting it takes 0.4 us.
    finish: `
      select completed_count as completed, conflict,
        case when ${isLast} then ${inTime("$5")} end as is_in_time,
        case when ${isLast} then ${writtenBy} end as written_by
      from ${schema}.kojin_finish_members(
        $1::${text}[], $2::${text}[], $3::${text}[],
        case when ${isSet("$5", "$6")} then $4::${text}[] end, $7::${float8}[]
      )
      order by place`,

    // Finishes members so that each fails alone. Takes the parameters of the function. Returns the same as `finish`,
    // and the error of each failed member.
    finishEach: `
      select completed_count, conflict, ${failureColumns}
      from ${schema}.kojin_finish_each(
        $1::${text}[], $2::${text}[], $3::${text}[], $4::${text}[], $5::${float8}[], $6::${float8}[],
        $7::${float8}, $8::boolean, $9::int, $10::int, $11::int, $12::boolean
      )
      order by place`,
  };
}

function claimStatements(schema: string) {
  const group = "state.group_id operator(pg_catalog.=) $1::pg_catalog.text";
  const hasToken = "state.claim_token operator(pg_catalog.=) $2::pg_catalog.uuid";
  return {
    // $1 text group, $2 uuid token, $3 float8 ms of the lease or null for a permanent claim, $4 float8 server time from
    // which it must not claim. Returns a row if the claim was granted, also if the same token asks again, since the
    // first answer may have been lost.
    claim: `
      update ${schema}.kojin_group_state as state
      set
        claim_token = $2::pg_catalog.uuid,
        claimed_until = coalesce(
          pg_catalog.clock_timestamp()
            operator(pg_catalog.+) ($3::double precision operator(pg_catalog.*) interval '1 millisecond'),
          'infinity'::timestamp with time zone
        )
      from ${clock}
      where ${group} and ${isDone} and ${isAlive} and (${isUnclaimed} or ${hasToken})
      returning ${isInTime(schema, "$4")}`,

    // $1 text group, $2 uuid token, $3 float8 server time from which it must not acknowledge. Returns a row if the
    // caller still has the claim and the group has not expired.
    acknowledge: `
      update ${schema}.kojin_group_state as state
      set claimed_until = 'infinity'::timestamp with time zone
      from ${clock}
      where ${group} and ${hasToken} and ${isAlive}
      returning ${isInTime(schema, "$3")}`,

    // $1 int rows. Returns done groups that are free to be claimed, longest done first.
    unclaimed: `
      select state.group_id, ${progress}
      from ${schema}.kojin_group_state as state cross join ${clock}
      where ${isDone} and ${isUnclaimed} and ${isAlive}
      order by state.completed_at, state.group_id
      limit $1::int`,
  };
}
