import { Option } from "commander";
import ms from "ms";
import { escapeIdentifier } from "pg";
import {
  groupColumns,
  isGroupPresent,
  isUnclaimed,
  type ListedGroup,
  toListedGroup,
} from "../../dashboard/group-lists";
import { failureSummary, shorten } from "../../dashboard/previews";
import { isPresent, microsOf } from "../../results/expressions";
import { type CliCommand, parseFiniteDuration, parseInteger } from "../command";
import { type ExitCode, exitCodes } from "../exit-codes";
import type { Session } from "../session";
import { aligned, inBytes, inDigits, printable } from "../text";
import { describeProgress } from "./groups";

interface ListOptions<State> {
  readonly prefix: string;
  readonly state?: State;
  readonly olderThan?: number;
  readonly newerThan?: number;
  readonly limit: number;
}

/** A line of the list: its object for `--json`, and its cells for people. */
interface Line {
  readonly json: object;
  readonly cells: readonly string[];
  readonly isFailure: boolean;
}

/** A condition that matches few rows may have to read all of them. */
const timeoutMs = 60_000;

const addFilters = (command: CliCommand, states: readonly string[], what: string): CliCommand =>
  command
    .option("--prefix <text>", `only ${what} whose id begins with this`, "")
    .addOption(new Option("--state <state>", `only ${what} in this state`).choices(states))
    .option("--older-than <duration>", `only ${what} of at least this age`, parseFiniteDuration)
    .option("--newer-than <duration>", `only ${what} of at most this age`, parseFiniteDuration)
    .option("--limit <number>", "longest list", parseInteger(1, 100_000), 50);

export const list = (program: CliCommand): void => {
  addFilters(program.command("list"), ["succeeded", "failed"], "results")
    .summary("list the latest results")
    .description(
      "Lists stored results, the latest first, with state, age, size, id and error. Values are not shown: `get` prints them.",
    )
    .examples(
      ["list", "the latest 50"],
      ["list --state failed --newer-than 1h", "what failed in the last hour?"],
      ["list --prefix report: --json | jq -r .taskId", "the ids of some tasks"],
    )
    .handle<ListOptions<"succeeded" | "failed">>(async (session, _args, options) => {
      const { database, options: resolved } = (await session.connect()).core;
      const text = resultList(escapeIdentifier(resolved.schema));
      const state = options.state === undefined ? null : options.state === "failed";
      const query = { purpose: "list results", text, values: [...filtersOf(options), state] };
      const rows = await database.query<ResultColumns>(query, timeoutMs);
      return printList(session, options.limit, rows.map(toResultLine), "results");
    });
};

export const groups = (program: CliCommand): void => {
  addFilters(program.command("groups"), ["open", "done", "unclaimed"], "groups")
    .summary("list the latest groups")
    .description(
      "Lists groups, the latest first, with state, age, progress and id. A done group is unclaimed until a process has claimed it.",
    )
    .examples(
      ["groups --state open --older-than 1h", "which groups are stuck?"],
      ["groups --state unclaimed", "done, and no process has claimed them"],
      ["groups --json | jq 'select(.failed > 0).groupId'", "those with failures"],
    )
    .handle<ListOptions<"open" | "done" | "unclaimed">>(async (session, _args, options) => {
      const { database, options: resolved } = (await session.connect()).core;
      const text = groupList(escapeIdentifier(resolved.schema));
      const query = { purpose: "list groups", text, values: [...filtersOf(options), options.state ?? null] };
      const rows = await database.query(query, timeoutMs);
      return printList(session, options.limit, rows.map(toGroupLine), "groups");
    });
};

/** The first parameters of both statements; one more row than is shown tells whether there are more. */
const filtersOf = ({ prefix, olderThan, newerThan, limit }: ListOptions<string>): unknown[] => [
  prefix,
  olderThan ?? null,
  newerThan ?? null,
  limit + 1,
];

const matches = (id: string, time: string): string => {
  const ago = (parameter: string): string =>
    `(pg_catalog.statement_timestamp()
          operator(pg_catalog.-) (${parameter}::double precision operator(pg_catalog.*) '1 millisecond'::interval))`;
  return `pg_catalog.starts_with(${id}::pg_catalog.text, $1::pg_catalog.text)
        and ($2::double precision is null or ${time} operator(pg_catalog.<=) ${ago("$2")})
        and ($3::double precision is null or ${time} operator(pg_catalog.>=) ${ago("$3")})`;
};

type ResultColumns = [
  taskId: string,
  isFailed: boolean,
  storedAt: string | null,
  expiresAt: string | null,
  bytes: number,
  error: string | null,
  now: string,
];

/**
 * $1 text prefix, $2 float8 and $3 float8 least and greatest age in ms or null, $4 int rows, $5 boolean true for
 * failures only, false for the others, or null. Reads the index kojin_results_stored_xid from its end, then the rows
 * without a transaction.
 */
function resultList(schema: string): string {
  const part = (condition: string, order: string): string => `
      (
        select task_id, result, error, stored_at, expires_at
        from ${schema}.kojin_results
        where ${condition} and ${isPresent} and ${matches("task_id", "stored_at")}
          and ($5::boolean is null or (error is not null) operator(pg_catalog.=) $5::boolean)
        order by ${order} desc
        limit $4::int
      )`;
  return `
    select task_id::pg_catalog.text, error is not null, ${microsOf("stored_at")}, ${microsOf("expires_at")},
      pg_catalog.pg_column_size(coalesce(error, result)), ${failureSummary("error")},
      ${microsOf("pg_catalog.statement_timestamp()")}
    from (${part("stored_xid is not null", "stored_xid")} union all ${part("stored_xid is null", "stored_at")}) as found
    limit $4::int`;
}

/** The same for groups, whose age counts from their creation. $5 text state or null. */
function groupList(schema: string): string {
  return `
    select ${groupColumns}, ${microsOf("pg_catalog.statement_timestamp()")}
    from ${schema}.kojin_group_state as state
    where ${isGroupPresent} and ${matches("state.group_id", "state.created_at")}
      and case
        when $5::pg_catalog.text is null then true
        when $5::pg_catalog.text operator(pg_catalog.=) 'open' then state.completed_at is null
        when $5::pg_catalog.text operator(pg_catalog.=) 'done' then state.completed_at is not null
        else state.completed_at is not null and ${isUnclaimed}
      end
    order by state.created_at desc, state.group_id
    limit $4::int`;
}

function toResultLine([taskId, isFailure, storedAt, expiresAt, bytes, error, now]: ResultColumns): Line {
  const state = isFailure ? "failed" : "succeeded";
  const summary = error === null ? undefined : shorten(error);
  const json = { taskId, state, storedAt: toIso(storedAt), expiresAt: toIso(expiresAt), bytes, error: summary };
  return { json, cells: [state, ageOf(storedAt, now), inBytes(bytes), taskId, summary ?? ""], isFailure };
}

function toGroupLine(row: unknown[]): Line {
  const group = toListedGroup(row);
  const { groupId, createdAt, failed, claim } = group;
  const age = ageOf(String(createdAt * 1_000), row.at(-1) as string);
  const progress = describeProgress({ ...group, done: false });
  return { json: toJson(group), cells: [claim, age, progress, groupId], isFailure: failed > 0 };
}

const toJson = ({ claim: state, createdAt, expiresAt, doneAt, ...group }: ListedGroup): object => ({
  ...group,
  state,
  createdAt: new Date(createdAt).toISOString(),
  doneAt: doneAt === null ? null : new Date(doneAt).toISOString(),
  expiresAt: expiresAt === null ? null : new Date(expiresAt).toISOString(),
});

function printList(session: Session, limit: number, lines: readonly Line[], what: string): ExitCode {
  const shown = lines.slice(0, limit);
  const texts = aligned(shown.map(({ cells }) => cells.map(printable)));
  for (const [index, { json, isFailure }] of shown.entries()) {
    session.printJson(json);
    const text = texts[index] ?? "";
    session.print(isFailure ? session.paint("red", text) : text);
  }
  if (shown.length === 0) session.note(`There are no such ${what}.`);
  if (lines.length > limit) session.note(`There are more than ${inDigits(limit)}: --limit shows more.`, "dim");
  return exitCodes.ok;
}

const toIso = (micros: string | null): string | null =>
  micros === null ? null : new Date(Number(micros) / 1_000).toISOString();

const ageOf = (micros: string | null, now: string): string =>
  micros === null ? "?" : ms(Math.max(0, Math.round((Number(now) - Number(micros)) / 1_000)));
