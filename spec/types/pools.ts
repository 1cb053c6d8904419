// Compiled by `npm run types` and never run. It fails to compile if a pool of some version of `pg` is not accepted.
import type { Pool, PoolClient, QueryResult } from "pg";
import { type ConnectionPool, PostgresResultBackend } from "kojin-postgres";

/**
 * The declarations of older versions of `@types/pg` (8.0 to 8.11), as far as they differ: no `options`, no `ending`,
 * another `release`.
 */
interface OldClient {
  query<R = Record<string, unknown>>(text: string, values?: unknown[]): Promise<{ rows: R[]; rowCount: number }>;
  query(text: string, callback: (error: Error, result: { rows: unknown[] }) => void): void;
  release(error?: Error | boolean): void;
  on(event: "drain", listener: () => void): this;
  on(event: "error", listener: (error: Error) => void): this;
}
interface OldPool {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
  connect(): Promise<OldClient>;
  connect(callback: (error: Error, client: OldClient, done: (release?: unknown) => void) => void): void;
  end(): Promise<void>;
}
/** A pool that hands out clients by promise only. */
interface PromisingPool {
  connect(): Promise<Pick<PoolClient, "query" | "release">>;
}

declare const pools: {
  readonly current: Pool;
  readonly old: OldPool;
  readonly promising: PromisingPool;
  readonly own: ConnectionPool;
};

export const backends = [
  new PostgresResultBackend(pools.current),
  new PostgresResultBackend(pools.old),
  new PostgresResultBackend(pools.promising),
  new PostgresResultBackend(pools.own),
];

// @ts-expect-error A client is no pool: its `connect` gives nothing.
new PostgresResultBackend({ connect: async (): Promise<void> => Promise.resolve() });
// @ts-expect-error What gives no clients is no pool.
new PostgresResultBackend({ query: async (): Promise<QueryResult> => Promise.reject(new Error()) });
