import { escapeIdentifier } from "pg";
import { lockTimeoutSetting } from "../database/database";
import { isInTime, loudTriggers, writtenBy } from "../results/expressions";
import { failureColumns } from "../results/write-errors";

/** The SQL that writes groups, made once for a schema. What it may and may not do is with the functions, in sql/0002_groups.sql. */
export interface GroupWriteStatements {
  readonly init: string;
  readonly finish: string;
  /** Where each member may fail alone; in a transaction of its own only. */
  readonly finishEach: string;
}

export interface GroupWriteVariant {
  /** Whether nothing is announced, since the writer does that itself. */
  readonly silent: boolean;
  /** Longest wait for a lock; undefined where the transaction is the caller's, which also decides until when the statement may write. */
  readonly lockTimeoutMs: number | undefined;
}

export function groupWriteStatements(
  schema: string,
  { silent, lockTimeoutMs }: GroupWriteVariant,
): GroupWriteStatements {
  const name = escapeIdentifier(schema);
  const isFenced = lockTimeoutMs !== undefined;
  const inTime = (parameter: string): string => (isFenced ? isInTime(name, parameter) : "true");
  const settings = (fence: string): string[] => [
    ...(isFenced ? [inTime(fence)] : []),
    ...(lockTimeoutMs === undefined ? [] : [lockTimeoutSetting(lockTimeoutMs)]),
    ...(silent ? ["pg_catalog.set_config('kojin.notify', 'off', true)"] : loudTriggers(isFenced)),
  ];
  // Made before the function is called, since the call depends on them.
  const call = (fence: string): { prelude: string; source: string; first: (argument: string) => string } => {
    const made = settings(fence).join(", ");
    if (made === "") return { prelude: "", source: "", first: (argument) => argument };
    return {
      prelude: `with settings as materialized (select pg_catalog.concat(${made}) as made)`,
      source: "settings, lateral ",
      first: (argument) => `case when made is not null then ${argument} end`,
    };
  };
  const [init, finish] = [call("$7"), call("$5")];
  const text = "pg_catalog.text";
  return {
    // $1 text group, $2 int total, $3 text[] ids or null, $4 float8 and $5 float8 ms to live and until the deadline, or null, $6 text channel; in a transaction of its own, $7 the server's
    // time from which it may not write. Returns null, or why not.
    init: `
      ${init.prelude}
      select conflict, ${inTime("$7")}
      from ${init.source}${name}.kojin_init_group(${init.first(`$1::${text}`)}, $2::int, $3::${text}[], $4::double precision, $5::double precision, $6::${text}) as conflict`,

    // $1 text[] groups, $2 text[] tasks, $3 text[] results and $4 text[] failures, of which one is ''; in a transaction of its own, $5 the server's time from which it may not write, and $6 float8[]
    // times of the calls, or null: what was written later stays. Returns for each, in order, the number completed, and why not.
    finish: `
      ${finish.prelude}
      select completed_count, conflict, ${inTime("$5")}, ${writtenBy}
      from ${finish.source}${name}.kojin_finish_members($1::${text}[], $2::${text}[], $3::${text}[], ${finish.first(`$4::${text}[]`)}${isFenced ? ", $6::double precision[]" : ""})
      order by place`,

    // Parameters as for the function. Returns the same, and for a member that failed, how.
    finishEach: `
      select completed_count, conflict, ${failureColumns}
      from ${name}.kojin_finish_each(
        $1::${text}[], $2::${text}[], $3::${text}[], $4::${text}[], $5::double precision[], $6::double precision[], $7::double precision, $8::boolean, $9::int, $10::int, $11::int,
        $12::boolean
      )
      order by place`,
  };
}
