import { escapeIdentifier } from "pg";
import { lockTimeoutSetting } from "../database/database";

/** The SQL that writes groups, made once for a schema. What it may and may not do is with the functions, in sql/0002_groups.sql. */
export interface GroupWriteStatements {
  readonly init: string;
  readonly finish: string;
}

export interface GroupWriteVariant {
  /** Whether nothing is announced, since the writer does that itself. */
  readonly silent: boolean;
  /** Longest wait for a lock; undefined where the transaction is the caller's. */
  readonly lockTimeoutMs: number | undefined;
}

export function groupWriteStatements(
  schema: string,
  { silent, lockTimeoutMs }: GroupWriteVariant,
): GroupWriteStatements {
  const name = escapeIdentifier(schema);
  const settings = [
    ...(lockTimeoutMs === undefined ? [] : [lockTimeoutSetting(lockTimeoutMs)]),
    ...(silent ? ["pg_catalog.set_config('kojin.notify', 'off', true)"] : []),
  ];
  // Made before the function is called, since the call depends on them.
  const [prelude, source, condition] =
    settings.length === 0
      ? ["", "", ""]
      : [
          `with settings as materialized (select pg_catalog.concat(${settings.join(", ")}) as made)`,
          "settings, lateral ",
          "case when made is not null then ",
        ];
  const end = condition === "" ? "" : " end";
  return {
    // $1 text group, $2 int total, $3 text[] ids or null, $4 float8 and $5 float8 ms to live and until the deadline, or null, $6 text channel. Returns null, or why not.
    init: `
      ${prelude}
      select conflict
      from ${source}${name}.kojin_init_group(${condition}$1::pg_catalog.text${end}, $2::int, $3::pg_catalog.text[], $4::double precision, $5::double precision, $6::pg_catalog.text) as conflict`,

    // $1 text[] groups, $2 text[] tasks, $3 text[] results and $4 text[] failures. Returns for each, in order, the number completed, and why not.
    finish: `
      ${prelude}
      select completed_count, conflict
      from ${source}${name}.kojin_finish_members($1::pg_catalog.text[], $2::pg_catalog.text[], $3::pg_catalog.text[], ${condition}$4::pg_catalog.text[]${end})
      order by place`,
  };
}
