import { escapeIdentifier } from "pg";
import type { SpecDatabase } from "../../support/spec-database";

/** Makes the tables of the Rust crate kojin-postgres 0.4, as its `migrate` does. */
export async function createCrateTables(database: SpecDatabase, schema: string): Promise<void> {
  const name = escapeIdentifier(schema);
  await database.sql(`create schema if not exists ${name}`);
  await database.sql(
    `create table ${name}.kojin_results (task_id text primary key, result jsonb not null, created_at timestamptz default now(), expires_at timestamptz)`,
  );
  await database.sql(
    `create index idx_kojin_results_expires on ${name}.kojin_results (expires_at) where expires_at is not null`,
  );
  await database.sql(
    `create table ${name}.kojin_groups (group_id text not null, task_id text not null, result jsonb, completed boolean default false, primary key (group_id, task_id))`,
  );
}

/** A worker of the crate that writes without pause, statement by statement, and notes how long each statement takes. */
export class BusyWorker {
  readonly #database: SpecDatabase;
  readonly #schema: string;
  readonly #number: number;
  #isStopping = false;
  #running: Promise<void> | undefined;
  longestMs = 0;
  longestStatement = "";
  /** Group and members that were completed. */
  readonly completed = new Map<string, number>();

  constructor(database: SpecDatabase, schema: string, number: number) {
    this.#database = database;
    this.#schema = escapeIdentifier(schema);
    this.#number = number;
  }

  /** Completes members of the given groups, which exist already, and begins groups of its own. */
  start(existing: readonly string[]): void {
    this.#running = this.#run(existing);
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#running;
  }

  async #run(existing: readonly string[]): Promise<void> {
    const client = await this.#database.pool.connect();
    const send = async (text: string, values: unknown[]): Promise<void> => {
      const startedAt = performance.now();
      await client.query(text, values);
      const elapsedMs = performance.now() - startedAt;
      if (elapsedMs > this.longestMs) [this.longestMs, this.longestStatement] = [elapsedMs, text];
    };
    const complete = async (groupId: string, taskId: string): Promise<void> => {
      await send(
        `insert into ${this.#schema}.kojin_groups (group_id, task_id, result, completed) values ($1, $2, $3, true)
         on conflict (group_id, task_id) do update set result = $3, completed = true`,
        [groupId, taskId, "1"],
      );
      this.completed.set(groupId, (this.completed.get(groupId) ?? 0) + 1);
    };
    try {
      for (let round = 0; !this.#isStopping; round += 1) {
        await send(
          `insert into ${this.#schema}.kojin_results (task_id, result, expires_at) values ($1, $2, now() + interval '1 day')
           on conflict (task_id) do update set result = excluded.result, expires_at = excluded.expires_at`,
          [`live ${this.#number} ${round % 100}`, "1"],
        );
        const own = `own ${this.#number} ${Math.floor(round / 5)}`;
        if (round % 5 === 0)
          for (let index = 0; index < 5; index += 1)
            await send(
              `insert into ${this.#schema}.kojin_groups (group_id, task_id, completed) values ($1, $2, false) on conflict (group_id, task_id) do nothing`,
              [own, `${own}:placeholder:${index}`],
            );
        await complete(own, `task ${round % 5}`);
        await complete(existing[round % existing.length] ?? own, `live ${this.#number} ${round}`);
      }
    } finally {
      client.release();
    }
  }
}
