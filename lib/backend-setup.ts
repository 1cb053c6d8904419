import {
  type AttachContext,
  attachQueue,
  type AttachOptions,
  type AttachReport,
  type DetachOptions,
  detachQueue,
} from "./attach/attach";
import type { QueueName } from "./attach/presets";
import type { QueueTable } from "./attach/queue-table";
import type { BackendCore } from "./backend-core";
import {
  migrate,
  type MigrateOptions,
  type MigrationPlan,
  type MigrationReport,
  planMigration,
} from "./schema/migrate";

/** The operations of a backend that create tables, functions and triggers. They need a role that may do so. */
export abstract class BackendSetup {
  readonly #core: BackendCore;
  readonly #ttlMs: number;

  /** @internal */
  constructor(core: BackendCore, ttlMs: number) {
    this.#core = core;
    this.#ttlMs = ttlMs;
  }

  /**
   * Creates or upgrades the tables and triggers; does nothing if they are up to date. Adopts tables of the Rust crate
   * with their rows, while its workers keep writing. Any number of processes may call it at once, and a later call
   * continues an interrupted migration. Needs a role that may create tables in the schema.
   *
   * @throws {@link SchemaError} The schema is newer than this package.
   * @throws {@link DatabaseError} Another session held a lock for too long; the message names it.
   */
  async migrate(options?: MigrateOptions): Promise<MigrationReport> {
    const { database, options: resolved } = this.#openCore();
    return migrate(database, resolved.schema, options);
  }

  /**
   * Returns what `migrate` would do; changes nothing. For the SQL itself see `migrationScript`.
   *
   * @throws {@link SchemaError} The schema is newer than this package.
   */
  async planMigration(): Promise<MigrationPlan> {
    const { database, schemaCheck, options } = this.#openCore();
    return planMigration(database, schemaCheck, options.schema);
  }

  /**
   * Copies the outcomes of a queue's jobs to the results: a trigger on the queue's own table does so in the transaction
   * that finishes a job. Then `wait(jobId)` works, and no worker changes. A retry that is still to come is no failure.
   * If a copy fails, the job finishes all the same, and the server logs a warning. Calling it again replaces the
   * settings and copies what is missing. Needs the rights to create functions in the schema of the results and triggers
   * on the table of the queue.
   *
   * @param queue - The name of a known queue, or the description of any table.
   * @throws TypeError An argument does not fit; a `RangeError` if it has a wrong value.
   * @throws {@link SchemaError} The tables of the results were not migrated.
   * @throws {@link DatabaseError} There is no such table, an expression does not fit it, or another session held a lock
   * on it for too long; the message names it.
   */
  async attachQueue(queue: QueueName | QueueTable, options?: AttachOptions): Promise<AttachReport> {
    const { schemaCheck, options: resolved } = this.#openCore();
    await schemaCheck.pass(resolved.retryTimeoutMs);
    return attachQueue(this.#attachContext(), queue, options);
  }

  /**
   * Removes what `attachQueue` has created. Outcomes that were copied stay. Resolves with false if the queue was not
   * attached.
   *
   * @throws {@link DatabaseError} Another session held a lock on the queue's table for too long; the message names it.
   */
  async detachQueue(queue: QueueName | Pick<QueueTable, "table">, options?: DetachOptions): Promise<boolean> {
    return detachQueue(this.#attachContext(), queue, options);
  }

  #attachContext(): AttachContext {
    const { database, options } = this.#openCore();
    return { database, schema: options.schema, ttlMs: this.#ttlMs, maxResultBytes: options.maxResultBytes };
  }

  #openCore(): BackendCore {
    this.#core.assertOpen();
    return this.#core;
  }
}
