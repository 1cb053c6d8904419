// npx tsx examples/chord.ts
//
// A chord: when all members of a group are done, a callback gets their results. The queue is pg-boss in the same
// database, so claiming the group and enqueuing the callback are one transaction. One job is enqueued, however many
// processes compete and even if some of them crash.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Pool, type PoolClient } from "pg";
import PgBoss from "pg-boss";
import { PostgresResultBackend } from "kojin-postgres";
import { ReplaySubject, defer, distinct, filter, lastValueFrom, merge, mergeAll, mergeMap, take, toArray } from "rxjs";
import { type ExampleDatabase, withDatabase } from "./support/database";

interface CountJob {
  readonly groupId: string;
  readonly file: string;
}

interface Count {
  readonly file: string;
  readonly words: number;
}

interface Attempt {
  readonly claimer: string;
  readonly groupId: string;
  /** True if this claimer got the group and enqueued the callback. */
  readonly claimed: boolean;
}

interface Parts {
  readonly pool: Pool;
  readonly boss: PgBoss;
  readonly backend: PostgresResultBackend;
}

const polling = { pollingIntervalSeconds: 0.5, batchSize: 10 };
const callbackId = (groupId: string): string => `${groupId}: callback`;

/** One of the processes that look for completed groups. They share nothing but the database. */
class Claimer implements AsyncDisposable {
  /** All attempts, including those before the subscription. */
  readonly attempts$ = new ReplaySubject<Attempt>();
  readonly #name: string;
  readonly #boss: PgBoss;
  readonly #pool: Pool;
  readonly #backend: PostgresResultBackend;

  constructor(name: string, { url, schema }: ExampleDatabase, boss: PgBoss) {
    this.#name = name;
    this.#boss = boss;
    this.#pool = openPool(url);
    this.#backend = new PostgresResultBackend(this.#pool, { schema });
  }

  /** Resolves when it listens. */
  async start(): Promise<void> {
    const atStart$ = defer(async () => {
      // Only after it listens: otherwise a group that completes in between would be missed by both.
      await this.#backend.ready();
      return this.#backend.unclaimedGroups();
    });
    merge(this.#backend.groupCompletions$(), atStart$.pipe(mergeAll()))
      .pipe(mergeMap(async ({ groupId }) => this.#claim(groupId)))
      .subscribe(this.attempts$);
    await this.#backend.ready();
  }

  async #claim(groupId: string): Promise<Attempt> {
    const claimed = await inTransaction(this.#pool, async (client) => {
      // Waits while another claimer's transaction is open, and gets the group only if that one is rolled back.
      const claim = await this.#backend.claimGroup(groupId, { client });
      if (claim === undefined) return false;
      await this.#boss.send("callback", { groupId }, { db: through(client) });
      return true;
    });
    return { claimer: this.#name, groupId, claimed };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#backend.close();
    await this.#pool.end();
  }
}

async function main(database: ExampleDatabase): Promise<void> {
  const { url, schema } = database;
  const pool = openPool(url);
  const backend = new PostgresResultBackend(pool, { schema });
  const boss = new PgBoss({ connectionString: url, schema, supervise: false, schedule: false });
  boss.on("error", (error) => console.error("pg-boss:", error));
  try {
    await backend.migrate();
    await boss.start();
    const runs = await startWorkers(boss, backend);
    await playChords(database, { pool, boss, backend });
    console.log(`Callbacks that ran: ${runs.join(", ")}.`);
  } finally {
    await boss.stop({ timeout: 5_000 });
    await backend.close();
    await pool.end();
  }
}

/** Starts the workers of both queues. Emits each group whose callback has run, once per run. */
async function startWorkers(boss: PgBoss, backend: PostgresResultBackend): Promise<string[]> {
  const runs: string[] = [];
  await boss.createQueue("count");
  await boss.createQueue("callback");
  await boss.work<CountJob>("count", polling, async (jobs) => {
    for (const { data } of jobs) {
      const text = await readFile(join(__dirname, "..", data.file), "utf8");
      const count: Count = { file: data.file, words: text.split(/\s+/u).filter(Boolean).length };
      // A queue may deliver a job twice. The member counts once.
      await backend.completeGroupMember(data.groupId, data.file, count);
    }
  });
  await boss.work<{ groupId: string }>("callback", polling, async (jobs) => {
    for (const { data } of jobs) {
      runs.push(data.groupId);
      const counts = await backend.getGroupResults<Count>(data.groupId);
      console.log(`The words of ${data.groupId}: ${counts.map(({ file, words }) => `${file} ${words}`).join(", ")}.`);
      await backend.store(callbackId(data.groupId), null);
    }
  });
  return runs;
}

async function playChords(database: ExampleDatabase, parts: Parts): Promise<void> {
  const { boss, backend } = parts;
  // Completed before any claimer runs, as after a crash of all of them: they find it when they start.
  await enqueue("documents", ["README.md", "CHANGELOG.md", "LICENSE"], parts);
  await backend.waitGroup("documents", 20_000);

  await using ada = new Claimer("Ada", database, boss);
  await using ben = new Claimer("Ben", database, boss);
  await using cleo = new Claimer("Cleo", database, boss);
  await using dan = new Claimer("Dan", database, boss);
  const claimers = [ada, ben, cleo, dan];
  await Promise.all(claimers.map(async (claimer) => claimer.start()));
  await backend.wait(callbackId("documents"), 20_000);

  // Completed while all of them listen: they hear of it at the same time.
  await enqueue("sources", ["lib/index.ts", "lib/errors.ts", "lib/options.ts"], parts);
  await backend.wait(callbackId("sources"), 20_000);
  const attempts$ = merge(...claimers.map(({ attempts$ }) => attempts$)).pipe(
    filter(({ groupId }) => groupId === "sources"),
    distinct(({ claimer }) => claimer),
    take(claimers.length),
    toArray(),
  );
  summarize(await lastValueFrom(attempts$));
}

/** Creates the group and the jobs of its members in one transaction. */
async function enqueue(groupId: string, files: readonly string[], { pool, boss, backend }: Parts): Promise<void> {
  const jobs = files.map((file) => ({ name: "count", data: { groupId, file } satisfies CountJob }));
  await inTransaction(pool, async (client) => {
    await backend.initGroup(groupId, files, { client });
    await boss.insert(jobs, { db: through(client) });
  });
}

function summarize(attempts: readonly Attempt[]): void {
  const winners = attempts.filter(({ claimed }) => claimed).map(({ claimer }) => claimer);
  if (winners.length !== 1) throw new Error(`Expected one claim, got ${winners.length}.`);
  console.log(`${attempts.length} claimers competed for sources; ${winners.join()} got it.`);
}

/** Lets pg-boss work on our connection, and so in our transaction. */
function through(client: PoolClient): PgBoss.Db {
  return { executeSql: async (text, values) => client.query(text, values) };
}

async function inTransaction<T>(pool: Pool, work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let isOver = false;
  try {
    await client.query("begin");
    const result = await work(client);
    await client.query("commit");
    isOver = true;
    return result;
  } finally {
    // After an error the connection is destroyed, which rolls the transaction back.
    client.release(!isOver);
  }
}

function openPool(url: string): Pool {
  const pool = new Pool({ connectionString: url, max: 3 });
  pool.on("error", (error) => console.error("pool:", error));
  return pool;
}

void withDatabase(main);
