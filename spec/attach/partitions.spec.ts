import { Client, escapeIdentifier } from "pg";
import { specDatabase } from "../support/spec-database";
import { JobsTable } from "./support/jobs-table";

describe("a partitioned table of an application", () => {
  const database = specDatabase("attach partitions");
  const schema = `${database.schema} queue`;
  const partitions = [1, 2, 3, 4, 5];
  const transactionSeconds = 0.6;

  const partitionOf = (jobs: JobsTable, attempt: number): string =>
    `${escapeIdentifier(schema)}.${escapeIdentifier(`${jobs.table} ${attempt}`)}`;

  async function create(name: string): Promise<JobsTable> {
    const jobs = await new JobsTable(database, schema, name).create("partition by list (attempt)", "not null");
    for (const attempt of partitions)
      await database.sql(
        `create table ${partitionOf(jobs, attempt)} partition of ${jobs.name} for values in (${attempt})`,
      );
    return jobs;
  }

  /** Opens a transaction in each partition. They end one after another, in the order of the partitions. */
  async function occupy(jobs: JobsTable): Promise<{ ended: Promise<unknown> }> {
    const sessions: Client[] = [];
    for (const attempt of partitions) {
      const session = new Client({ connectionString: database.url });
      sessions.push(session);
      await session.connect();
      await session.query("begin");
      await session.query(`insert into ${partitionOf(jobs, attempt)} (id, attempt) values ('open', ${attempt})`);
    }
    const end = async (session: Client, seconds: number): Promise<void> => {
      await session.query("select pg_sleep($1)", [seconds]);
      await session.query("commit");
      await session.end();
    };
    return {
      ended: Promise.all(sessions.map(async (session, index) => end(session, transactionSeconds * (index + 1)))),
    };
  }

  /** Writes to one partition after another until `work` is done, and returns the time of the slowest write. */
  async function slowestWriteDuring(jobs: JobsTable, work: Promise<unknown>): Promise<number> {
    const state = { isDone: false };
    const done = work.finally(() => (state.isDone = true));
    let slowestMs = 0;
    for (let round = 0; !state.isDone; round += 1) {
      const startedAt = performance.now();
      await database.sql(
        `insert into ${jobs.name} (id, attempt) values ('short', ${partitions[round % partitions.length]})`,
      );
      slowestMs = Math.max(slowestMs, performance.now() - startedAt);
    }
    await done;
    return slowestMs;
  }

  it.each(["attachQueue", "detachQueue"] as const)(
    "blocks its writers for a second at most when partitions are locked one after another: %s",
    async (change) => {
      const [backend, jobs] = [await database.open(), await create(change)];
      if (change === "detachQueue") await backend.attachQueue(jobs.queue, { schema });
      const { ended } = await occupy(jobs);
      const slowestMs = await slowestWriteDuring(jobs, backend[change](jobs.queue, { schema }));
      // Without the limit, three seconds: the time until the last transaction has ended.
      expect(slowestMs).toBeLessThan(2_000);
      await ended;
      const { attached } = await backend.inspect();
      expect(attached.some(({ table }) => table === jobs.table)).toBe(change === "attachQueue");
    },
  );
});
