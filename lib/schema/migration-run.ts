import { escapeIdentifier } from "pg";
import type { Database } from "../database/database";
import type { SqlClient } from "../result-backend";
import { buildIndex } from "./index-build";
import {
  latestVersion,
  type Migration,
  migrations,
  progressVersions,
  recountSql,
  versionTable,
} from "./migration-files";
import { MigrationLock } from "./migration-lock";
import { type BatchesStep, type MigrationStep, pageQuery, sqlFor, stepsOf } from "./migration-steps";
import { refuseForeignObjects } from "./object-owners";
import { newerSchemaError } from "./schema-check";

/** How far a migration is. */
export interface MigrationProgress {
  readonly schema: string;
  /** The name of the migration, or `recount`. */
  readonly migration: string;
  /** What is being done, in words. */
  readonly step: string;
  /** Rows, or groups, that this step has handled so far. */
  readonly rows: number;
  /** The sessions that hold the lock that is waited for; undefined where none is. */
  readonly waitingFor?: string | undefined;
}

/** What the version table says. */
interface SchemaState {
  /** The version of the tables; 0 where nothing was migrated yet. */
  readonly version: number;
  /** The last step of a migration that has not ended; null where there is none. */
  readonly migrating: string | null;
  /** The last step of a recount that has not ended; null where there is none. */
  readonly recounting: string | null;
}

/** A migration, or a recount, and how far it is. */
interface Job {
  readonly name: string;
  /** The version to record at the end; undefined for a recount. */
  readonly version: number | undefined;
  readonly steps: readonly MigrationStep[];
  readonly position: number;
}

interface PageLimits {
  rows: number;
}

const recountName = "recount";
const maxPageRows = 2_000;
// Writers of the page's groups wait for its end. A page that takes longer is repeated with fewer rows, down to one row, which may take all the time of its transaction.
const pageTimeoutMs = 1_000;

/** Brings one schema to the version of this package, step by step. Each step is recorded as it commits, so another process can go on where this one ends. */
export class MigrationRun {
  readonly applied: Migration[] = [];
  readonly #database: Database;
  readonly #schema: string;
  readonly #onProgress: (progress: MigrationProgress) => void;
  readonly #lock: MigrationLock;
  #progress: MigrationProgress;

  constructor(
    database: Database,
    schema: string,
    lockWaitMs: number,
    onProgress: (progress: MigrationProgress) => void,
  ) {
    this.#database = database;
    this.#schema = schema;
    this.#onProgress = onProgress;
    this.#progress = { schema, migration: "", step: "", rows: 0 };
    this.#lock = new MigrationLock(database, schema, lockWaitMs, (waitingFor) => this.#report({ waitingFor }));
  }

  /** Runs what is pending, also a recount that was begun. */
  async finish(): Promise<void> {
    while (await this.#advance());
  }

  /** Makes `finish` count groups anew. */
  async requestRecount(client: SqlClient): Promise<void> {
    await this.#recordProgress(client, progressVersions.recount, `${recountName}: begun`);
  }

  /** Whether nothing is pending. */
  async isFinished(): Promise<boolean> {
    const { version, recounting } = await this.look(async (client) => presentState(client, this.#schema));
    return pendingOf(this.#schema, version).length === 0 && recounting === null;
  }

  /** Runs `work`, which changes nothing, without the migration lock, and waits for a connection with the patience of a step. */
  async look<T>(work: (client: SqlClient) => Promise<T>): Promise<T> {
    return this.#lock.run(work, { isExclusive: false });
  }

  /** Runs `work` in a transaction under the migration lock. */
  async underLock<T>(work: (client: SqlClient) => Promise<T>): Promise<T> {
    return this.#lock.run(work);
  }

  /** Runs the next step. Resolves with false where there is none. */
  async #advance(): Promise<boolean> {
    const next = await this.#lock.run(async (client) => {
      const job = await this.#begin(client);
      const step = job?.steps[job.position];
      if (job !== undefined && step?.kind === "transaction") {
        this.#report({ migration: job.name, step: step.title, rows: 0, waitingFor: undefined });
        await client.query(step.sql, []);
        await refuseForeignObjects(client, this.#schema);
        await this.#record(client, job);
      }
      return job;
    });
    if (next === undefined) return false;
    const step = next.steps[next.position];
    if (step !== undefined && step.kind !== "transaction") {
      this.#report({ migration: next.name, step: step.title, rows: 0, waitingFor: undefined });
      if (step.kind === "index")
        await buildIndex(this.#database, this.#lock, this.#schema, step, (waitingFor) => this.#report({ waitingFor }));
      else if (!(await this.#runPages(next, step))) return true;
      const isMine = await this.#lock.run(async (client) => {
        const isPresent = await this.#isPresent(client, next);
        if (isPresent) await this.#record(client, next);
        return isPresent;
      });
      // Another process has been faster, and reports what it has applied.
      if (!isMine) return true;
    }
    if (next.position === next.steps.length - 1) this.#noteApplied(next);
    return true;
  }

  /** Finds out what is next. Where there are no tables yet, runs everything at once. */
  async #begin(client: SqlClient): Promise<Job | undefined> {
    const state = await presentState(client, this.#schema);
    const [migration, ...later] = pendingOf(this.#schema, state.version);
    if (migration === undefined) return state.recounting === null ? undefined : this.#recountJob(state.recounting);
    if (state.version === 0 && state.migrating === null) {
      await createSchema(client, this.#schema);
      await client.query(versionTable(this.#schema).create, []);
      if (!(await hasTables(client, this.#schema))) {
        for (const each of [migration, ...later]) await this.#runAtOnce(client, each);
        return undefined;
      }
    }
    const steps = stepsOf(this.#schema, migration.sql);
    const { name, version } = migration;
    return { name, version, steps, position: positionAfter(state.migrating, name, steps) };
  }

  #recountJob(recounting: string): Job {
    const steps = stepsOf(this.#schema, recountSql());
    return { name: recountName, version: undefined, steps, position: positionAfter(recounting, recountName, steps) };
  }

  /** For a schema without tables: there are no rows to page through, and no writers to wait for. */
  async #runAtOnce(client: SqlClient, migration: Migration): Promise<void> {
    this.#report({ migration: migration.name, step: "all", rows: 0, waitingFor: undefined });
    await client.query(sqlFor(this.#schema, migration.sql), []);
    await refuseForeignObjects(client, this.#schema);
    await this.#recordVersion(client, migration);
    this.applied.push(migration);
  }

  /** Handles one page after another, each in its own transaction. Resolves with false where another process has ended the step meanwhile. */
  async #runPages(job: Job, step: BatchesStep): Promise<boolean> {
    const limits: PageLimits = { rows: maxPageRows };
    const text = pageQuery(this.#schema, step);
    let cursor: string | null = null;
    do {
      // Pages need no migration lock: they lock the groups that they touch, in the order of their ids, and may be repeated.
      const after: string | null = cursor;
      const page = await this.#lock.run(
        async (client) => {
          if (!(await this.#isPresent(client, job))) return undefined;
          return (await client.query(text, [after, limits.rows])).rows[0];
        },
        {
          isExclusive: false,
          statementTimeoutMs: () => (limits.rows > 1 ? pageTimeoutMs : undefined),
          onRetry: () => (limits.rows = Math.max(1, Math.floor(limits.rows / 4))),
        },
      );
      if (page === undefined) return false;
      cursor = page["next_cursor"] as string | null;
      limits.rows = Math.min(maxPageRows, limits.rows * 2);
      this.#report({ rows: this.#progress.rows + Number(page["page_rows"]), waitingFor: undefined });
    } while (cursor !== null);
    return true;
  }

  /** Whether a job is still where it was when its step began. */
  async #isPresent(client: SqlClient, job: Job): Promise<boolean> {
    const { version, migrating, recounting } = await presentState(client, this.#schema);
    if (job.version === undefined)
      return recounting !== null && positionAfter(recounting, job.name, job.steps) === job.position;
    return version < job.version && positionAfter(migrating, job.name, job.steps) === job.position;
  }

  /** Records a step; after the last one, the version. */
  async #record(client: SqlClient, job: Job): Promise<void> {
    const progressVersion = job.version === undefined ? progressVersions.recount : progressVersions.migration;
    if (job.position < job.steps.length - 1) {
      await this.#recordProgress(client, progressVersion, `${job.name}: ${job.steps[job.position]?.title ?? ""}`);
      return;
    }
    const table = versionTable(this.#schema).name;
    await client.query(`delete from ${table} where version operator(pg_catalog.=) $1::int`, [progressVersion]);
    if (job.version !== undefined) await this.#recordVersion(client, { name: job.name, version: job.version });
  }

  async #recordProgress(client: SqlClient, version: number, name: string): Promise<void> {
    const table = versionTable(this.#schema).name;
    await client.query(
      `insert into ${table} (version, name) values ($1::int, $2::pg_catalog.text)
       on conflict (version) do update set name = excluded.name`,
      [version, name],
    );
  }

  async #recordVersion(client: SqlClient, { name, version }: Pick<Migration, "name" | "version">): Promise<void> {
    const table = versionTable(this.#schema).name;
    await client.query(
      `insert into ${table} (version, name) values ($1::int, $2::pg_catalog.text) on conflict (version) do nothing`,
      [version, name],
    );
  }

  #noteApplied({ version }: Job): void {
    const migration = migrations().find((each) => each.version === version);
    if (migration !== undefined) this.applied.push(migration);
  }

  #report(change: Partial<MigrationProgress>): void {
    this.#progress = { ...this.#progress, ...change };
    this.#onProgress(this.#progress);
  }
}

/** @throws {@link SchemaError} The schema is newer than this package. */
export function pendingOf(schema: string, present: number): readonly Migration[] {
  if (present > latestVersion()) throw newerSchemaError(schema, present, latestVersion());
  return migrations().filter(({ version }) => version > present);
}

/** The step after the one that was recorded last; the first one where none was, or where another version of this package recorded it. */
function positionAfter(recorded: string | null, name: string, steps: readonly MigrationStep[]): number {
  return steps.findIndex(({ title }) => recorded === `${name}: ${title}`) + 1;
}

/**
 * Asks without an error where there is nothing yet: an error would end the transaction. And asks the catalog itself: `to_regclass` answers from a cache of the session, which may
 * still say "no such table" from before the wait for the lock.
 */
async function presentState(client: SqlClient, schema: string): Promise<SchemaState> {
  if (!(await hasTables(client, schema, ["kojin_migrations"])))
    return { version: 0, migrating: null, recounting: null };
  const { rows } = await client.query(versionTable(schema).read, []);
  return toSchemaState(rows[0]);
}

function toSchemaState(row: Record<string, unknown> | undefined): SchemaState {
  const text = (value: unknown): string | null => (typeof value === "string" ? value : null);
  return {
    version: Number(row?.["version"]),
    migrating: text(row?.["migrating"]),
    recounting: text(row?.["recounting"]),
  };
}

async function hasTables(
  client: SqlClient,
  schema: string,
  names: readonly string[] = ["kojin_results", "kojin_groups", "kojin_group_state"],
): Promise<boolean> {
  const { rows } = await client.query(
    `select from pg_catalog.pg_class as relation
     join pg_catalog.pg_namespace as namespace on namespace.oid operator(pg_catalog.=) relation.relnamespace
     where namespace.nspname operator(pg_catalog.=) $1::pg_catalog.name and relation.relname operator(pg_catalog.=) any ($2::pg_catalog.name[])`,
    [schema, [...names]],
  );
  return rows.length > 0;
}

/** `create schema if not exists` asks for the right to create one even where it exists. */
async function createSchema(client: SqlClient, schema: string): Promise<void> {
  const { rows } = await client.query(
    "select from pg_catalog.pg_namespace where nspname operator(pg_catalog.=) $1::pg_catalog.name",
    [schema],
  );
  if (rows.length === 0) await client.query(`create schema ${escapeIdentifier(schema)}`, []);
}
