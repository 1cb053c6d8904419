import type { Diagnosis, PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { faultSuite } from "./support/fault-suite";

/** Each commit takes 20 ms: the session that flushes the log sleeps first (PostgreSQL docs, commit_delay). */
const suite = faultSuite({ fsync: "on", commit_delay: "20000", commit_siblings: "0" });

const lockOf = (found: readonly Diagnosis[]): Diagnosis | undefined => found.find(({ check }) => check === "lock");

/** Has sessions commit one result after the other until it is called. */
async function keepCommitting(sessions: number, notify: "on" | "off"): Promise<() => Promise<unknown>> {
  let isOver = false;
  const clients = await Promise.all(Array.from({ length: sessions }, async () => suite.connect()));
  await Promise.all(clients.map(async (client) => client.query(`set kojin.notify = '${notify}'`)));
  const committing = clients.map(async (client, index) => {
    const upsert = `insert into kojin_results (task_id, result) values ('queued ${index}', '1') on conflict (task_id) do update set result = '1'`;
    while (!isOver) await client.query(upsert);
  });
  return async () => {
    isOver = true;
    await Promise.all(committing);
  };
}

describe("the check for commits that queue", () => {
  let backend: PostgresResultBackend;
  beforeAll(async () => (backend = await suite.open()));

  it("recommends 'deferred' while commits queue for the lock of notifying commits, and health() stays well", async () => {
    const stop = await keepCommitting(6, "on");
    try {
      // The sessions may need a moment to get into a queue.
      const found = await eventually(async () => {
        const lock = lockOf(await backend.diagnose({ probe: false }));
        expect(lock?.verdict).toBe("warning");
        return lock;
      });
      expect(found?.finding).toMatch(
        /in each of 5 looks at pg_locks within \d+ ms, sessions waited for it, up to [1-6]/,
      );
      expect(found?.finding).toContain("(spec admin) holds it now");
      expect(found?.remedy).toContain("notify: 'deferred'");
      expect(await backend.health()).toMatchObject({ ok: true, problems: [] });
    } finally {
      await stop();
    }
  });

  it("finds nothing while as many sessions commit without notifying", async () => {
    const stop = await keepCommitting(6, "off");
    try {
      expect(lockOf(await backend.diagnose({ probe: false }))).toMatchObject({ verdict: "ok", remedy: undefined });
    } finally {
      await stop();
    }
  });

  it("finds nothing while a single session commits with notifications", async () => {
    const stop = await keepCommitting(1, "on");
    try {
      expect(lockOf(await backend.diagnose({ probe: false }))).toMatchObject({ verdict: "ok", remedy: undefined });
    } finally {
      await stop();
    }
  });
});
