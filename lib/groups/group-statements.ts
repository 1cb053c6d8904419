import { escapeIdentifier } from "pg";
import { type CommitStatements, commitStatements } from "../store/commit-statements";
import { microsOf } from "../store/expressions";

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
const isKnown = "(state.total is not null or state.completed + state.failed > 0)";
const isAlive = "(state.expires_at is null or state.expires_at > clock_timestamp())";

export function groupStatements(schema: string): GroupStatements {
  const name = escapeIdentifier(schema);
  const [state, members] = [`${name}.kojin_group_state as state`, `${name}.kojin_groups as member`];
  const finished = `select member.task_id, member.result::text, case when ${isFailed} then member.error::text end, member.finished_seq::text from ${members} join ${state} using (group_id)`;
  return {
    // $1 text[] groups. Returns those of which something is known: total, counts, when it was done, its deadline in ms, how many ms of it are left, whether it was
    // done more than a second ago, and the transaction in which it was. Durations as numeric: of a float8 as many digits come as the session's extra_float_digits says.
    read: `
      select state.group_id, state.total, state.completed, state.failed, ${microsOf("state.completed_at")}, state.deadline_ms::numeric::text,
        (extract(epoch from state.expires_at - clock_timestamp()) * 1000::numeric)::text,
        coalesce(state.completed_at < statement_timestamp() - interval '1 second', false),
        state.done_xid::pg_catalog.text
      from ${state}
      where state.group_id = any($1::text[]) and ${isKnown} and ${isAlive}`,

    commits: commitStatements({
      table: state,
      key: "state.group_id",
      xid: "state.done_xid",
      time: "state.completed_at",
      isThere: isAlive,
    }),

    // $1 text group. Results of the members that are completed, in declared order, or else by task.
    results: `
      select member.task_id, member.result::text from ${members} join ${state} using (group_id)
      where member.group_id = $1::text and ${isCompleted} and ${counts} and ${isAlive}
      order by member.position, member.task_id`,

    // $1 text group. The members that failed, in the same order.
    failures: `
      select member.task_id, member.error::text from ${members} join ${state} using (group_id)
      where member.group_id = $1::text and ${isFailed} and ${counts}
      order by member.position, member.task_id`,

    // A page of the members that finished, in that order. $1 text group, $2 bigint the number after which to begin, $3 int rows.
    finishedMembers: `${finished}
      where member.group_id = $1::text and member.finished_seq > $2::bigint and ${counts}
      order by member.finished_seq
      limit $3::int`,

    // $1 text group. Members that finished while the triggers were disabled, and so have no number.
    unnumberedMembers: `${finished}
      where member.group_id = $1::text and member.finished_seq is null and ((${isFailed}) or (${isCompleted})) and ${counts}
      order by member.task_id`,

    // $1 text group, $2 uuid token, $3 float8 ms it holds without acknowledgement, or null for good. Returns a row if the claim was given; also when it is asked
    // for again with the same token, since the first answer may have been lost.
    claim: `
      update ${state}
      set claim_token = $2::uuid, claimed_until = coalesce(clock_timestamp() + $3::float8 * interval '1 millisecond', 'infinity')
      where state.group_id = $1::text and state.completed_at is not null and ${isAlive}
        and (state.claimed_until is null or state.claimed_until <= clock_timestamp() or state.claim_token = $2::uuid)
      returning true`,

    // $1 text group, $2 uuid token. Returns a row if the claim is still the caller's.
    acknowledge: `update ${state} set claimed_until = 'infinity' where state.group_id = $1::text and state.claim_token = $2::uuid returning true`,

    // $1 int rows. Groups that are done and free to be claimed, longest done first.
    unclaimed: `
      select state.group_id, state.total, state.completed, state.failed
      from ${state}
      where state.completed_at is not null and (state.claimed_until is null or state.claimed_until <= clock_timestamp()) and ${isAlive}
      order by state.completed_at, state.group_id
      limit $1::int`,

    // $1 int rows. Groups of which something is known and that are not done, by id. Reads the whole table: no index names the open ones, since only a look from outside asks.
    open: `
      select state.group_id, state.total, state.completed, state.failed
      from ${state}
      where state.completed_at is null and ${isKnown} and ${isAlive}
      order by state.group_id
      limit $1::int`,

    // Deletes expired groups with their members. $1 int groups at the most, $2 float8 ms since they expired. Returns a row for each group.
    prune: `
      with expired as (
        select state.group_id from ${state}
        where state.expires_at <= statement_timestamp() - $2::float8 * interval '1 millisecond'
        order by state.expires_at
        limit $1::int
        for update skip locked
      ),
      deleted as (delete from ${members} using expired where member.group_id = expired.group_id)
      delete from ${state} using expired where state.group_id = expired.group_id
      returning true`,
  };
}
