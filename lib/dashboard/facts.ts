import { escapeIdentifier } from "pg";
import { Catalog, type TableSize } from "../admin/inspection";
import type { BackendCore } from "../backend-core";
import { microsOf } from "../results/expressions";

/** Facts about the database that change slowly. */
export interface Facts {
  readonly database: string;
  readonly schema: string;
  /** Version of the server. */
  readonly serverVersion: string;
  /** Version of the tables. */
  readonly schemaVersion: number | undefined;
  readonly tables: readonly TableSize[];
  /** Expired rows that `prune()` would delete, at most 10 001. */
  readonly expired: number;
  /** When the first of them expired, in milliseconds since 1970; null if there is none. */
  readonly expiredSince: number | null;
  /** Done groups that no process has claimed, among the 10 000 that were done last. */
  readonly unclaimed: number;
}

/** Rows that are counted at most. */
const maxCounted = 10_000;
const timeoutMs = 3_000;

/** Reads the name and the version of the database. Every role may. */
export async function readIdentity(
  core: BackendCore,
): Promise<Pick<Facts, "database" | "schema" | "serverVersion" | "schemaVersion">> {
  const catalog = new Catalog(core, timeoutMs);
  const { server } = await catalog.facts();
  return {
    database: server.database,
    schema: catalog.schema,
    serverVersion: server.version,
    schemaVersion: await catalog.schemaVersion(),
  };
}

/** Reads sizes and counts. Each count ends at 10 000. */
export async function readCounts(
  core: BackendCore,
): Promise<Pick<Facts, "tables" | "expired" | "expiredSince" | "unclaimed">> {
  const schema = escapeIdentifier(core.options.schema);
  const isExpired = "expires_at operator(pg_catalog.<=) pg_catalog.statement_timestamp()";
  const expired = (table: string): string =>
    `(select expires_at from ${schema}.${table} where ${isExpired} order by expires_at limit ${maxCounted + 1})`;
  // Returns the number of expired results and groups and the time of the first, from the indexes of expires_at, and the
  // number of unclaimed groups, from the index kojin_group_state_completed.
  const text = `
    select pg_catalog.count(*)::int, ${microsOf("pg_catalog.min(expired.expires_at)")},
      (
        select pg_catalog.count(*)::int
        from (
          select claimed_until, expires_at from ${schema}.kojin_group_state
          where completed_at is not null
          order by completed_at desc, group_id desc
          limit ${maxCounted}
        ) as done
        where (done.claimed_until is null or done.claimed_until operator(pg_catalog.<=) pg_catalog.statement_timestamp())
          and (done.expires_at is null or done.expires_at operator(pg_catalog.>) pg_catalog.statement_timestamp())
      )
    from (${expired("kojin_results")} union all ${expired("kojin_group_state")}) as expired`;
  const query = { purpose: "count expired rows", text, values: [] };
  const [row] = await core.database.query<[number, string | null, number]>(query, timeoutMs);
  const [count = 0, since = null, unclaimed = 0] = row ?? [];
  return {
    tables: await new Catalog(core, timeoutMs).tables(),
    expired: Math.min(count, maxCounted + 1),
    expiredSince: since === null ? null : Number(since) / 1_000,
    unclaimed,
  };
}
