import { escapeIdentifier } from "pg";
import { type CommitStatements, commitStatements } from "../results/commit-statements";
import { boundedText, estimatedBytes, readBudgetBytes } from "../results/bounded-text";
import { isInTime, microsOf } from "../results/expressions";
import type { ResultStatementOptions } from "../results/statements";
import { maxTextBytes } from "../value/jsonb-text";

/** The SQL that reads, claims and prunes groups, made once for a schema. */
export interface GroupStatements {
  readonly read: string;
  readonly commits: CommitStatements;
  readonly results: string;
  readonly failures: string;
  readonly finishedMembers: string;
  readonly unnumberedMembers: string;
  readonly claim: string;
  readonly acknowledge: string;
  readonly unclaimed: string;
  readonly open: string;
  readonly prune: string;
}

const isCompleted = "member.completed and member.result is not null";
// A foreign writer may leave an error in a member that it completes; the member is completed then.
const isFailed = `member.error is not null and (${isCompleted}) is not true`;
// Where the members are declared, others are as if they were not there.
const counts = "(not state.declared or member.position is not null)";
const isKnown =
  "(state.total is not null or (state.completed operator(pg_catalog.+) state.failed) operator(pg_catalog.>) 0)";
// By the time at which the rows are looked at: a statement may have waited for a lock since it began.
const clock = "(select pg_catalog.clock_timestamp() as time) as clock";
const isAlive = "(state.expires_at is null or state.expires_at operator(pg_catalog.>) clock.time)";
// A group that the crate declares row by row looks complete, and the next row may be on its way: as in kojin_groups_change, in sql/0002_groups.sql. With a longer time to go, the
// server's clock was set back since.
const isSettling = `(not state.initialised and state.completed_at operator(pg_catalog.>) clock.time
  and state.completed_at operator(pg_catalog.<=) (clock.time operator(pg_catalog.+) interval '500 milliseconds'))`;
const isDone = `(state.completed_at is not null and ${isSettling} is not true)`;

const msUntil = (time: string): string =>
  `(pg_catalog.date_part('epoch'::pg_catalog.text, ${time} operator(pg_catalog.-) clock.time) operator(pg_catalog.*) 1000::double precision)::numeric::pg_catalog.text`;

// eslint-disable-next-line max-lines-per-function -- one statement after another
export function groupStatements({ schema, maxResultBytes }: ResultStatementOptions): GroupStatements {
  const maxBytes = maxTextBytes(maxResultBytes);
  const name = escapeIdentifier(schema);
  const [state, members] = [`${name}.kojin_group_state as state`, `${name}.kojin_groups as member`];
  const ofState = "member.group_id operator(pg_catalog.=) state.group_id";
  const ofGroup = (columns: string, page: string): string => `
      select ${isDone}, state.completed, state.failed, ${columns}
      from ${state} cross join ${clock} left join lateral (${page}) as page on true
      where state.group_id operator(pg_catalog.=) $1::pg_catalog.text and ${isKnown} and ${isAlive}`;
  // The rows that a page has room for, by estimate, and the first whatever its size; with the number of those that there would be. A text that is too long is null.
  const inBudget = (columns: string, rows: string): string => `
        select ${columns}, summed.candidates
        from (
          select measured.*, pg_catalog.count(*) over () as candidates,
            pg_catalog.sum(measured.bytes) over (order by measured.place, measured.task_id rows unbounded preceding) operator(pg_catalog.-) measured.bytes as bytes_before
          from (${rows}) as measured
        ) as summed
        where summed.bytes_before operator(pg_catalog.<) ${readBudgetBytes}`;
  const memberPage = (condition: string, value: string): string => `${ofGroup(
    "page.task_id, page.value, page.position, page.candidates::int",
    inBudget(
      `summed.task_id, ${boundedText("summed.value", maxBytes)} as value, summed.position`,
      `
            select member.task_id::pg_catalog.text as task_id, ${value} as value, member.position, 0 as place, ${estimatedBytes(value)}::bigint as bytes
            from ${members}
            where ${ofState} and member.task_id operator(pg_catalog.>) $2::pg_catalog.text and ${condition} and ${counts}
            order by member.task_id
            limit $3::int
          `,
    ),
  )}
      order by page.task_id`;
  const finishedPage = (condition: string, order: string): string => `${ofGroup(
    "page.task_id, page.value, page.is_failed, page.finished_seq::pg_catalog.text, page.candidates::int",
    inBudget(
      `summed.task_id, ${boundedText("summed.value", maxBytes)} as value, summed.is_failed, summed.place as finished_seq`,
      `
            select finished.*, ${estimatedBytes("finished.value")}::bigint as bytes
            from (
              select member.task_id::pg_catalog.text as task_id, (${isFailed}) as is_failed, case when ${isFailed} then member.error else member.result end as value,
                member.finished_seq as place
              from ${members}
              where ${ofState} and ${condition} and ${counts}
              order by ${order}
              limit $3::int
            ) as finished
          `,
    ),
  )}
      order by page.finished_seq, page.task_id`;
  return {
    // $1 text[] groups. Returns those of which something is known: total, counts, when it was done, its deadline in ms, how many ms of it are left, whether it was done more than a
    // second ago, the transaction in which it was, in how many ms it is done unless more placeholders come, and whether these come late. Durations as numeric: of a double as many
    // digits come as the session's extra_float_digits says.
    read: `
      select state.group_id, state.total, state.completed, state.failed, case when ${isDone} then ${microsOf("state.completed_at")} end,
        state.deadline_ms::numeric::pg_catalog.text, ${msUntil("state.expires_at")},
        coalesce(state.completed_at operator(pg_catalog.<) (pg_catalog.statement_timestamp() operator(pg_catalog.-) interval '1 second'), false),
        state.done_xid::pg_catalog.text, case when ${isSettling} then ${msUntil("state.completed_at")} end, state.placeholders_late
      from ${state} cross join ${clock}
      where state.group_id operator(pg_catalog.=) any ($1::pg_catalog.text[]) and ${isKnown} and ${isAlive}`,

    commits: commitStatements({
      table: `${state} cross join ${clock}`,
      key: "state.group_id",
      xid: "state.done_xid",
      time: "state.completed_at",
      isThere: isAlive,
    }),

    // A page of the members that are completed, or that failed, by task. $1 text group, $2 text task after which to begin, $3 int rows. Returns with each whether the group is done and
    // its counts, from the same snapshot; one row with nulls if no more follow, none if the group is absent.
    results: memberPage(isCompleted, "member.result"),
    failures: memberPage(isFailed, "member.error"),

    // A page of the members that finished, in that order, in the same way. $1 text group, $2 bigint the number after which to begin, $3 int rows.
    finishedMembers: finishedPage("member.finished_seq operator(pg_catalog.>) $2::bigint", "member.finished_seq"),

    // $1 text group, $2 text task after which to begin, $3 int rows. Members that finished while the triggers were disabled, and so have no number.
    unnumberedMembers: finishedPage(
      `member.task_id operator(pg_catalog.>) $2::pg_catalog.text and member.finished_seq is null and ((${isFailed}) or (${isCompleted}))`,
      "member.task_id",
    ),

    // $1 text group, $2 uuid token, $3 float8 the server's time from which it may not claim, $4 float8 ms it holds without acknowledgement, or null for good. Returns a row if the claim was given; also when it is asked
    // for again with the same token, since the first answer may have been lost.
    claim: `
      update ${state}
      set
        claim_token = $2::pg_catalog.uuid,
        claimed_until = coalesce(
          pg_catalog.clock_timestamp() operator(pg_catalog.+) ($4::double precision operator(pg_catalog.*) interval '1 millisecond'), 'infinity'::timestamp with time zone
        )
      from ${clock}
      where state.group_id operator(pg_catalog.=) $1::pg_catalog.text and ${isDone} and ${isAlive}
        and (
          state.claimed_until is null or state.claimed_until operator(pg_catalog.<=) clock.time
          or state.claim_token operator(pg_catalog.=) $2::pg_catalog.uuid
        )
      returning ${isInTime(name, "$3")}`,

    // $1 text group, $2 uuid token, $3 float8 the server's time from which it may not acknowledge. Returns a row if the claim is still the caller's, and the group has not expired.
    acknowledge: `
      update ${state}
      set claimed_until = 'infinity'::timestamp with time zone
      from ${clock}
      where state.group_id operator(pg_catalog.=) $1::pg_catalog.text and state.claim_token operator(pg_catalog.=) $2::pg_catalog.uuid and ${isAlive}
      returning ${isInTime(name, "$3")}`,

    // $1 int rows. Groups that are done and free to be claimed, longest done first.
    unclaimed: `
      select state.group_id, state.total, state.completed, state.failed
      from ${state} cross join ${clock}
      where ${isDone} and (state.claimed_until is null or state.claimed_until operator(pg_catalog.<=) clock.time) and ${isAlive}
      order by state.completed_at, state.group_id
      limit $1::int`,

    // $1 int rows. Groups of which something is known and that are not done, by id: those that lack members by an index of their own, those that settle by when they are done.
    open: `
      select known.group_id, known.total, known.completed, known.failed
      from (
        (
          select state.group_id, state.total, state.completed, state.failed
          from ${state} cross join ${clock}
          where state.completed_at is null and ${isKnown} and ${isAlive}
          order by state.group_id
          limit $1::int
        )
        union all
        (
          select state.group_id, state.total, state.completed, state.failed
          from ${state} cross join ${clock}
          where state.completed_at operator(pg_catalog.>) pg_catalog.statement_timestamp() and ${isSettling} and ${isAlive}
          order by state.group_id
          limit $1::int
        )
      ) as known
      order by known.group_id
      limit $1::int`,

    // Deletes expired groups with their members. $1 int groups at the most, $2 float8 ms since they expired. Returns a row for each group.
    prune: `
      select true
      from pg_catalog.generate_series(1, ${name}.kojin_groups_prune($1::int, $2::double precision))`,
  };
}
