import { escapeIdentifier } from "pg";
import type { Database } from "../database/database";
import { sqlStates } from "../database/sql-states";
import { DatabaseError } from "../errors";
import type { SqlClient } from "../result-backend";
import { buildIndex } from "./index-build";
import {
  type BatchesStep,
  createSchemaSql,
  type Migration,
  type MigrationStep,
  migrations,
  recountSql,
  sqlFor,
  stepsOf,
} from "./migration-files";
import { MigrationLock } from "./migration-lock";
import { hasTables, refuseNewer, VersionTable } from "./schema-check";

/** The progress of a migration. */
export interface MigrationProgress {
  readonly schema: string;
  /** The name of the migration, or `recount`. */
  readonly migration: string;
  /** Current step, in words. */
  readonly step: string;
  /** Rows or groups that this step has processed so far. */
  readonly rows: number;
  /** Sessions that hold the lock for which the step waits; undefined if it does not wait. */
  readonly waitingFor?: string | undefined;
}

/** A migration or a recount, with its next step. */
interface Job {
  readonly name: string;
  /** The migration to record at the end; undefined for a recount. */
  readonly migration: Migration | undefined;
  readonly steps: readonly MigrationStep[];
  readonly position: number;
}

const recountName = "recount";
const maxPageRows = 2_000;
/**
 * Longest time of a page, since writers of its groups wait for its end. A page that takes longer is repeated with fewer
 * rows. A single row may take the whole time of its transaction.
 */
const pageTimeoutMs = 1_000;

/**
 * Migrates one schema to the version of this package. Each step is recorded in its own transaction, so another process
 * can continue from there.
 */
export class MigrationRun {
  readonly applied: Migration[] = [];
  readonly lock: MigrationLock;
  readonly #database: Database;
  readonly #schema: string;
  readonly #table: VersionTable;
  readonly #onProgress: (progress: MigrationProgress) => void;
  #progress: MigrationProgress;

  constructor(
    database: Database,
    schema: string,
    lockWaitMs: number,
    onProgress: (progress: MigrationProgress) => void,
  ) {
    this.#database = database;
    this.#schema = schema;
    this.#table = new VersionTable(schema);
    this.#onProgress = onProgress;
    this.#progress = { schema, migration: "", step: "", rows: 0 };
    this.lock = new MigrationLock(database, schema, lockWaitMs, (waitingFor) => this.#report({ waitingFor }));
  }

  /** Runs everything pending, including a recount that has begun. */
  async finish(): Promise<void> {
    while (await this.#advance());
  }

  /** Makes `finish` recount groups. */
  async requestRecount(client: SqlClient): Promise<void> {
    await this.#table.recordStep(client, "recount", `${recountName}: begun`);
  }

  /** Tells whether nothing is pending. */
  async isFinished(): Promise<boolean> {
    const { version, recounting } = await this.lock.run(async (client) => this.#table.readIfPresent(client), {
      isExclusive: false,
    });
    return pendingAfter(version, this.#schema).length === 0 && recounting === null;
  }

  /** Runs the next step. Resolves with false if there is none. */
  async #advance(): Promise<boolean> {
    const job = await this.lock.run(async (client) => {
      const next = await this.#begin(client);
      const step = next?.steps[next.position];
      if (next !== undefined && step?.kind === "transaction") {
        this.#reportStep(next.name, step.title);
        await client.query(step.sql, []);
        await refuseForeignObjects(client, this.#schema);
        await this.#record(client, next);
      }
      return next;
    });
    if (job === undefined) return false;
    const step = job.steps[job.position];
    const isMine = step === undefined || step.kind === "transaction" || (await this.#runOutside(job, step));
    // Otherwise another process was faster, and that process reports the migration as applied.
    if (isMine && job.migration !== undefined && job.position === job.steps.length - 1)
      this.applied.push(job.migration);
    return true;
  }

  /**
   * Runs a step that takes more than one transaction. Resolves with false if another process has finished it meanwhile.
   */
  async #runOutside(job: Job, step: Exclude<MigrationStep, { kind: "transaction" }>): Promise<boolean> {
    this.#reportStep(job.name, step.title);
    if (step.kind === "index")
      await buildIndex(this.#database, this.lock, this.#schema, step, (waitingFor) => this.#report({ waitingFor }));
    else if (!(await this.#runPages(job, step))) return false;
    return this.lock.run(async (client) => {
      const isPresent = await this.#isPresent(client, job);
      if (isPresent) await this.#record(client, job);
      return isPresent;
    });
  }

  /** Finds the next step. If there are no tables yet, runs everything at once. */
  async #begin(client: SqlClient): Promise<Job | undefined> {
    const { version, migrating, recounting } = await this.#table.readIfPresent(client);
    const pending = pendingAfter(version, this.#schema);
    const [migration] = pending;
    if (migration === undefined)
      return recounting === null ? undefined : this.#job(recountName, recountSql, recounting);
    if (version === 0 && migrating === null) {
      await client.query(createSchemaSql(this.#schema), []);
      await client.query(this.#table.createSql, []);
      if (!(await hasTables(client, this.#schema, ["kojin_results", "kojin_groups", "kojin_group_state"]))) {
        for (const each of pending) await this.#runAtOnce(client, each);
        return undefined;
      }
    }
    return this.#job(migration.name, migration.sql, migrating, migration);
  }

  #job(name: string, sql: string, recorded: string | null, migration?: Migration): Job {
    const steps = stepsOf(this.#schema, sql);
    return { name, migration, steps, position: positionAfter(recorded, name, steps) };
  }

  /** Runs a migration in a schema without tables, where there are no rows and no writers to consider. */
  async #runAtOnce(client: SqlClient, migration: Migration): Promise<void> {
    this.#reportStep(migration.name, "all");
    await client.query(sqlFor(this.#schema, migration.sql), []);
    await refuseForeignObjects(client, this.#schema);
    await this.#table.recordMigration(client, migration);
    this.applied.push(migration);
  }

  /**
   * Processes page after page, each in its own transaction. Resolves with false if another process has finished the
   * step.
   */
  async #runPages(job: Job, { pageFunction }: BatchesStep): Promise<boolean> {
    const name = `${escapeIdentifier(this.#schema)}.${pageFunction}`;
    const text = `select next_cursor, page_rows from ${name}($1::pg_catalog.text, $2::int)`;
    let pageRows = maxPageRows;
    let cursor: string | null = null;
    do {
      const after: string | null = cursor;
      const work = async (client: SqlClient): Promise<Record<string, unknown> | undefined> =>
        (await this.#isPresent(client, job)) ? (await client.query(text, [after, pageRows])).rows[0] : undefined;
      const page = await this.lock.run(work, {
        // Pages lock the groups that they touch, in the order of their ids, and may be repeated.
        isExclusive: false,
        statementTimeoutMs: () => (pageRows > 1 ? pageTimeoutMs : undefined),
        onRetry: () => (pageRows = Math.max(1, Math.floor(pageRows / 4))),
      });
      if (page === undefined) return false;
      cursor = page["next_cursor"] as string | null;
      pageRows = Math.min(maxPageRows, pageRows * 2);
      this.#report({ rows: this.#progress.rows + Number(page["page_rows"]), waitingFor: undefined });
    } while (cursor !== null);
    return true;
  }

  /** Tells whether a job is still at the same step. */
  async #isPresent(client: SqlClient, { name, migration, steps, position }: Job): Promise<boolean> {
    const { version, migrating, recounting } = await this.#table.readIfPresent(client);
    if (migration === undefined) return recounting !== null && positionAfter(recounting, name, steps) === position;
    return version < migration.version && positionAfter(migrating, name, steps) === position;
  }

  /** Records a step and, after the last one, the migration. */
  async #record(client: SqlClient, { name, migration, steps, position }: Job): Promise<void> {
    const work = migration === undefined ? "recount" : "migration";
    if (position < steps.length - 1) {
      await this.#table.recordStep(client, work, `${name}: ${steps[position]?.title ?? ""}`);
      return;
    }
    await this.#table.forgetSteps(client, work);
    if (migration !== undefined) await this.#table.recordMigration(client, migration);
  }

  #reportStep(migration: string, step: string): void {
    this.#report({ migration, step, rows: 0, waitingFor: undefined });
  }

  #report(change: Partial<MigrationProgress>): void {
    this.#progress = { ...this.#progress, ...change };
    this.#onProgress(this.#progress);
  }
}

/**
 * Returns the migrations after a version.
 *
 * @throws {@link SchemaError} The schema is newer than this package.
 */
export function pendingAfter(version: number, schema: string): readonly Migration[] {
  refuseNewer(schema, version);
  return migrations.filter((migration) => migration.version > version);
}

/**
 * Returns the step after the last recorded one. Returns the first step if none was recorded, or if another version of
 * this package recorded it.
 */
function positionAfter(recorded: string | null, name: string, steps: readonly MigrationStep[]): number {
  return steps.findIndex(({ title }) => recorded === `${name}: ${title}`) + 1;
}

// Tables of the Rust crate are adopted, whichever role owns them.
const foreignObjects = `
  with place as (
    select oid, nspowner from pg_catalog.pg_namespace where nspname operator(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name
  ),
  present as (
    select 'function ' operator(pg_catalog.||) routine.oid::pg_catalog.regprocedure::pg_catalog.text as object, routine.proowner as owner
    from place join pg_catalog.pg_proc as routine on routine.pronamespace operator(pg_catalog.=) place.oid
    where pg_catalog.starts_with(routine.proname::pg_catalog.text, 'kojin_')
    union all
    select 'relation ' operator(pg_catalog.||) relation.relname::pg_catalog.text, relation.relowner
    from place join pg_catalog.pg_class as relation on relation.relnamespace operator(pg_catalog.=) place.oid
    where relation.relname operator(pg_catalog.=) any (
      array['kojin_group_state', 'kojin_group_seq', 'kojin_streams', 'kojin_chunks']::pg_catalog.name[]
    )
  )
  select present.object, role.rolname::pg_catalog.text as owner
  from present
  join place on true
  join pg_catalog.pg_roles as role on role.oid operator(pg_catalog.=) present.owner
  where role.rolname operator(pg_catalog.<>) current_user and not role.rolsuper
    and not pg_catalog.pg_has_role(role.oid, place.nspowner, 'MEMBER'::pg_catalog.text)
    and (
      (select rolsuper from pg_catalog.pg_roles where rolname operator(pg_catalog.=) current_user)
      or not pg_catalog.pg_has_role(role.oid, 'MEMBER'::pg_catalog.text)
    )
  order by 1
  limit 1`;

/**
 * Rejects if an object that a migration has just created or replaced belongs to another role. It then existed before,
 * and its owner could still change what it does with the rights of every writer. Superusers, the owner of the schema
 * and its members, and roles of which this role is a member are trusted.
 */
async function refuseForeignObjects(client: SqlClient, schema: string): Promise<void> {
  const [foreign] = (await client.query(foreignObjects, [schema])).rows as { object: string; owner: string }[];
  if (foreign === undefined) return;
  throw new DatabaseError(
    `Could not migrate: the ${foreign.object} in schema ${escapeIdentifier(schema)} belongs to the role ${foreign.owner}, which could run its own code through it. Drop it, change its owner, or migrate as that role.`,
    sqlStates.insufficientPrivilege,
    false,
    { origin: "statement" },
  );
}
