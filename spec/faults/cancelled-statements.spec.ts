import { escapeIdentifier, Pool } from "pg";
import type { Observable } from "rxjs";
import { PostgresResultBackend, type PostgresResultBackendOptions } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase, withParameter } from "../support/spec-database";

type Call = (backend: PostgresResultBackend) => Promise<unknown>;

const ids = (count: number): string[] => Array.from({ length: count }, (_, index) => `member ${index}`);

/** Every call that sends statements. */
const calls: Readonly<Record<string, Call>> = {
  store: async (backend) => backend.store("stored", 1),
  "many stores": async (backend) => Promise.all(ids(20).map(async (id) => backend.store(id, 1))),
  "store, the first one kept": async (backend) => backend.store("kept", 1, { onConflict: "keep" }),
  fail: async (backend) => backend.fail("failed", new Error("no")),
  get: async (backend) => backend.get("read"),
  "many gets": async (backend) => Promise.all(ids(20).map(async (id) => backend.get(id))),
  getSettled: async (backend) => backend.getSettled("read, too"),
  "wait for 0 ms": async (backend) => backend.wait("waited for", 0),
  "wait for 500 ms": async (backend) => backend.wait("waited for", 500),
  delete: async (backend) => backend.delete("deleted"),
  initGroup: async (backend) => backend.initGroup("small", 3),
  "initGroup with many ids": async (backend) => backend.initGroup("large", ids(1_500)),
  completeGroupMember: async (backend) => backend.completeGroupMember("open", "a", 1),
  failGroupMember: async (backend) => backend.failGroupMember("open", "b", new Error("no")),
  getGroup: async (backend) => backend.getGroup("open"),
  getGroupResults: async (backend) => backend.getGroupResults("open"),
  waitGroup: async (backend) => backend.waitGroup("open", 500),
  claimGroup: async (backend) => backend.claimGroup("open"),
  "claimGroup, leased": async (backend) => backend.claimGroup("open", { leaseMs: 1_000 }),
  openGroups: async (backend) => backend.openGroups(),
  unclaimedGroups: async (backend) => backend.unclaimedGroups(),
  prune: async (backend) => backend.prune(),
  migrate: async (backend) => backend.migrate({ lockWaitMs: 1_000 }),
  "migrate with a recount": async (backend) => backend.migrate({ recount: true, lockWaitMs: 1_000 }),
  planMigration: async (backend) => backend.planMigration(),
  health: async (backend) => backend.health(),
  inspect: async (backend) => backend.inspect(),
  diagnose: async (backend) => backend.diagnose(),
};

describe("statements that were given up", () => {
  const database = specDatabase("given up");
  const tables = ["kojin_results", "kojin_groups", "kojin_group_state", "kojin_migrations"].map(
    (table) => `${escapeIdentifier(database.schema)}.${table}`,
  );
  const name = `given up ${process.pid}`;
  const options: PostgresResultBackendOptions = { retryTimeoutMs: 1_000, schema: database.schema };
  const url = withParameter(database.poolUrl, "application_name", name);
  const listen = { connection: database.url };

  /** Statements that the server still runs for backends. Listeners are idle. */
  const running = async (): Promise<string[]> =>
    (
      await database.sql<{ query: string }>(
        "select state || ': ' || left(query, 80) as query from pg_stat_activity where application_name like $1 || '%' and state <> 'idle'",
        [name],
      )
    ).map(({ query }) => query);

  async function whileLocked(work: () => Promise<void>): Promise<void> {
    const client = await database.pool.connect();
    await client.query(`begin; lock table ${tables.join(", ")} in access exclusive mode`);
    try {
      await work();
      await eventually(async () => expect(await running()).toEqual([]), { timeoutMs: 30_000 });
    } finally {
      await client.query("rollback");
      client.release();
    }
  }

  async function expectNothingToGoOn(backend: PostgresResultBackend): Promise<void> {
    await whileLocked(async () => {
      const streams: Observable<unknown>[] = [
        backend.results$(),
        backend.groupCompletions$(),
        backend.groupChanges$(),
        backend.group$("open"),
      ];
      const subscriptions = streams.map((stream) => stream.subscribe({ error: () => undefined }));
      await Promise.allSettled(Object.values(calls).map(async (call) => call(backend)));
      for (const subscription of subscriptions) subscription.unsubscribe();
    });
  }

  const kinds: readonly [string, () => Promise<[PostgresResultBackend, () => Promise<void>]>][] = [
    [
      "connect()",
      async () => {
        const backend = await PostgresResultBackend.connect({ connectionString: url, max: 40 }, { ...options, listen });
        return [backend, async () => Promise.resolve()];
      },
    ],
    [
      "a pool of the application's",
      () => {
        const pool = new Pool({ connectionString: url, max: 40 });
        return Promise.resolve([new PostgresResultBackend(pool, { ...options, listen }), async () => pool.end()]);
      },
    ],
  ];
  it.each(kinds)(
    "by calls of a backend on %s do not go on on the server",
    async (_kind, open) => {
      const [backend, end] = await open();
      await backend.initGroup("open", 3).catch(() => undefined);
      await expectNothingToGoOn(backend);
      await backend.close();
      await end();
    },
    120_000,
  );

  it("by the first calls of a backend do not go on on the server", async () => {
    const pool = new Pool({ connectionString: url });
    const backend = new PostgresResultBackend(pool, { ...options, listen });
    await whileLocked(async () => {
      await Promise.allSettled([backend.store("first", 1), backend.get("first"), backend.delete("first")]);
    });
    await backend.close();
    await pool.end();
  });
});
