import { escapeIdentifier } from "pg";
import type { BackendCore } from "../backend-core";
import { microsOf } from "../results/expressions";

/** A group on a list. Times are in milliseconds since 1970 on the server's clock. */
export interface ListedGroup {
  readonly groupId: string;
  readonly total: number | null;
  readonly completed: number;
  readonly failed: number;
  readonly createdAt: number;
  /** When it will expire if it is still open by then; null if it has no deadline. */
  readonly expiresAt: number | null;
  /** Null while it is open. */
  readonly doneAt: number | null;
  readonly claim: Claim;
}

/** `leased`: claimed until a time; `claimed`: claimed for good. */
type Claim = "open" | "unclaimed" | "leased" | "claimed";

export interface GroupLists {
  /** The oldest of the open groups. */
  readonly open: readonly ListedGroup[];
  /** Number of open groups, at most 2 001. */
  readonly openCount: number;
  /** The groups that were done last. */
  readonly done: readonly ListedGroup[];
}

/** Open groups that one read looks at. */
const maxOpen = 2_000;
const openLength = 200;
const doneLength = 20;
const timeoutMs = 3_000;

type Columns = [
  groupId: string,
  total: number | null,
  completed: number,
  failed: number,
  createdAt: string | null,
  expiresAt: string | null,
  doneAt: string | null,
  claim: Claim,
];

/** A condition that is true for a group of `state` that no process has claimed. */
export const isUnclaimed = `(state.claimed_until is null or state.claimed_until operator(pg_catalog.<=) pg_catalog.clock_timestamp())`;

/** The columns of a {@link ListedGroup} of `state`. */
export const groupColumns = `state.group_id, state.total, state.completed, state.failed, ${microsOf("state.created_at")},
    ${microsOf("state.expires_at")}, ${microsOf("state.completed_at")},
    case
      when state.completed_at is null then 'open'
      when ${isUnclaimed} then 'unclaimed'
      when pg_catalog.isfinite(state.claimed_until) then 'leased'
      else 'claimed'
    end`;

export const isGroupPresent = `(state.expires_at is null or state.expires_at operator(pg_catalog.>) pg_catalog.clock_timestamp())`;
const isKnown = `(state.total is not null or (state.completed operator(pg_catalog.+) state.failed) operator(pg_catalog.>) 0)`;

export function toListedGroup(row: readonly unknown[]): ListedGroup {
  const [groupId, total, completed, failed, createdAt, expiresAt, doneAt, claim] = row as Columns;
  const toMs = (micros: string | null): number | null => (micros === null ? null : Number(micros) / 1_000);
  return {
    groupId,
    total,
    completed,
    failed,
    createdAt: toMs(createdAt) ?? 0,
    expiresAt: toMs(expiresAt),
    doneAt: toMs(doneAt),
    claim,
  };
}

/** Reads the open groups and those that were done last. */
export async function readGroupLists({ database, options }: BackendCore): Promise<GroupLists> {
  const states = `${escapeIdentifier(options.schema)}.kojin_group_state as state`;
  // Returns the oldest of the open groups, from the index kojin_group_state_open, with the number of all that were
  // looked at.
  const open = `
    select ${groupColumns}, state.looked_at::int
    from (
      select found.*, pg_catalog.count(*) over () as looked_at
      from (
        select state.group_id, state.total, state.completed, state.failed, state.created_at, state.expires_at,
          state.completed_at, state.claimed_until
        from ${states}
        where state.completed_at is null and ${isKnown} and ${isGroupPresent}
        order by state.group_id
        limit ${maxOpen + 1}
      ) as found
    ) as state
    order by state.created_at, state.group_id
    limit ${openLength}`;
  // Returns the groups that were done last, from the index kojin_group_state_completed.
  const done = `
    select ${groupColumns}
    from ${states}
    where state.completed_at is not null and ${isGroupPresent}
    order by state.completed_at desc, state.group_id desc
    limit ${doneLength}`;
  const read = async (text: string): Promise<unknown[][]> =>
    database.query({ purpose: "read the list of groups", text, values: [] }, timeoutMs);
  const openRows = await read(open);
  const doneRows = await read(done);
  return {
    open: openRows.map(toListedGroup),
    openCount: (openRows[0]?.[8] as number | undefined) ?? 0,
    done: doneRows.map(toListedGroup),
  };
}
