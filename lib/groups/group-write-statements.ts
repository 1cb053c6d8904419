import { escapeIdentifier } from "pg";
import { lockTimeoutSetting } from "../database/database";
import { isInTime, setting, writtenBy } from "../results/expressions";
import { failureColumns } from "../results/write-errors";

interface GroupWriteVariant {
  /**
   * `own`: the statement is a transaction of its own. `caller`: its transaction goes on, and has settings and a
   * deadline of its own.
   */
  readonly transaction: "own" | "caller";
  /**
   * Whether triggers notify of the groups that change, which they alone know; else the writer announces them after the
   * commit.
   */
  readonly notifies: boolean;
}

/** All forms of the statements that write groups. */
const variants = {
  own: { transaction: "own", notifies: true },
  unannounced: { transaction: "own", notifies: false },
  forCaller: { transaction: "caller", notifies: true },
} as const satisfies Record<string, GroupWriteVariant>;

/** The SQL that writes groups. The functions that it calls are in sql/0002_groups.sql. */
interface GroupWriteTexts {
  /**
   * $1 text group, $2 int total, $3 text[] ids or null, $4 float8 and $5 float8 ms to live and until the deadline, or
   * null, $6 text channel; in a transaction of its own, $7 the server's time from which it may not write. Returns null,
   * or why not.
   */
  readonly init: string;
  /**
   * $1 text[] groups, $2 text[] tasks, $3 text[] results and $4 text[] failures, of which one is ''; in a transaction
   * of its own, $5 the server's time from which it may not write, and $6 float8[] times of the calls, or null: what was
   * written later stays. Returns for each, in order, the number completed, and why not.
   */
  readonly finish: string;
}

export type GroupWriteStatements = Readonly<Record<keyof typeof variants, GroupWriteTexts>> & {
  /**
   * For members of which each may fail alone. Parameters as for the function. Returns the same as `finish`, and for a
   * member that failed, how.
   */
  readonly finishEach: string;
};

/** Made once for a schema. `lockTimeoutMs`: longest wait for a lock, where the transaction is our own. */
export function groupWriteStatements(schema: string, lockTimeoutMs: number): GroupWriteStatements {
  const texts = (variant: GroupWriteVariant): GroupWriteTexts => groupWriteTexts(schema, lockTimeoutMs, variant);
  return {
    own: texts(variants.own),
    unannounced: texts(variants.unannounced),
    forCaller: texts(variants.forCaller),
    finishEach: `
      select completed_count, conflict, ${failureColumns}
      from ${escapeIdentifier(schema)}.kojin_finish_each(
        $1::pg_catalog.text[], $2::pg_catalog.text[], $3::pg_catalog.text[], $4::pg_catalog.text[], $5::double precision[], $6::double precision[],
        $7::double precision, $8::boolean, $9::int, $10::int, $11::int, $12::boolean
      )
      order by place`,
  };
}

function groupWriteTexts(schema: string, lockTimeoutMs: number, variant: GroupWriteVariant): GroupWriteTexts {
  const name = escapeIdentifier(schema);
  const isOwn = variant.transaction === "own";
  const inTime = (fence: string): string => (isOwn ? isInTime(name, fence) : "true");
  // Made before the function is called, since the call depends on them.
  const settings = (fence: string): string => {
    const notify = setting("kojin.notify", variant.notifies ? "''" : "'off'");
    const own = `pg_catalog.concat(${inTime(fence)}, ${lockTimeoutSetting(lockTimeoutMs)}, ${notify})`;
    return `with settings as materialized (select ${isOwn ? own : "''"} as made)`;
  };
  const text = "pg_catalog.text";
  return {
    init: `
      ${settings("$7")}
      select conflict, ${inTime("$7")}
      from settings, lateral ${name}.kojin_init_group(
        case when made is not null then $1::${text} end, $2::int, $3::${text}[], $4::double precision, $5::double precision, $6::${text}
      ) as conflict`,

    finish: `
      ${settings("$5")}
      select completed_count, conflict, ${inTime("$5")}, ${writtenBy}
      from settings, lateral ${name}.kojin_finish_members(
        $1::${text}[], $2::${text}[], $3::${text}[], case when made is not null then $4::${text}[] end${isOwn ? ", $6::double precision[]" : ""}
      )
      order by place`,
  };
}
