import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { EntitySchema, MikroORM, PostgreSqlDriver } from "@mikro-orm/postgresql";
import { PrismaPg } from "@prisma/adapter-pg";
import { drizzle } from "drizzle-orm/node-postgres";
import { drizzle as drizzleOnPostgresJs } from "drizzle-orm/postgres-js";
import knex from "knex";
import { CamelCasePlugin, Kysely, PostgresDialect } from "kysely";
import { Pool } from "pg";
import postgres from "postgres";
import { DataSource } from "typeorm";
import type { SqlClient } from "kojin-postgres";
import {
  fromDrizzle,
  fromKnex,
  fromKysely,
  fromMikroOrm,
  fromPostgresJs,
  fromPrisma,
  fromTypeOrm,
  type PrismaTransaction,
} from "kojin-postgres/clients";

/** A library that is connected to a database. */
export interface Library {
  /** Runs `work` in a transaction, which is rolled back if it rejects. */
  transaction(work: (client: SqlClient) => Promise<unknown>): Promise<unknown>;
  /** Creates clients from objects that are no transaction. Each throws. */
  readonly mistakes: readonly (() => SqlClient | Promise<SqlClient>)[];
  close(): Promise<void>;
}

/** The client that Prisma generates, as far as it is used here. */
interface Generated {
  readonly PrismaClient: new (options: { adapter: PrismaPg }) => {
    $transaction(work: (tx: PrismaTransaction) => Promise<unknown>, options: { timeout: number }): Promise<unknown>;
    $disconnect(): Promise<void>;
  };
}

const repository = join(__dirname, "..", "..", "..");

/** Libraries that change the names of columns do so here. */
export const libraries: Record<string, (url: string) => Library | Promise<Library>> = {
  "fromPrisma()": async (url) => {
    await promisify(execFile)(
      join(repository, "node_modules", ".bin", "prisma"),
      ["generate", "--schema", join(__dirname, "schema.prisma")],
      // The engine of its migrations is not needed, and would be downloaded.
      { cwd: repository, env: { ...process.env, CHECKPOINT_DISABLE: "1", PRISMA_SCHEMA_ENGINE_BINARY: __filename } },
    );
    const { PrismaClient } = (await import(join(repository, ".tmp", "prisma", "client"))) as Generated;
    const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url }) });
    return {
      transaction: async (work) => prisma.$transaction(async (tx) => work(fromPrisma(tx)), { timeout: 30_000 }),
      mistakes: [() => fromPrisma(prisma as never), () => fromPrisma({} as never)],
      close: async () => prisma.$disconnect(),
    };
  },
  "fromDrizzle() on pg": (url) => {
    const pool = new Pool({ connectionString: url });
    const db = drizzle({ client: pool });
    return {
      transaction: async (work) => db.transaction(async (tx) => work(fromDrizzle(tx))),
      mistakes: [() => fromDrizzle(db as never), () => fromDrizzle(pool as never)],
      close: async () => pool.end(),
    };
  },
  "fromDrizzle() on Postgres.js": (url) => {
    const sql = postgres(url);
    const db = drizzleOnPostgresJs({ client: sql });
    return {
      transaction: async (work) => db.transaction(async (tx) => work(fromDrizzle(tx))),
      mistakes: [() => fromDrizzle(db as never)],
      close: async () => sql.end(),
    };
  },
  "fromKysely()": (url) => {
    const dialect = new PostgresDialect({ pool: new Pool({ connectionString: url }) });
    const db = new Kysely<object>({ dialect, plugins: [new CamelCasePlugin()] });
    return {
      transaction: async (work) => db.transaction().execute(async (trx) => work(fromKysely(trx))),
      mistakes: [() => fromKysely(db), () => fromKysely(undefined as never)],
      close: async () => db.destroy(),
    };
  },
  "fromKnex()": (url) => {
    const db = knex({ client: "pg", connection: url, postProcessResponse: withCamelCase });
    return {
      transaction: async (work) => db.transaction(async (trx) => work(fromKnex(trx))),
      mistakes: [() => fromKnex(db), () => fromKnex({ raw: async () => Promise.resolve() })],
      close: async () => db.destroy(),
    };
  },
  "fromTypeOrm()": async (url) => {
    const dataSource = await new DataSource({ type: "postgres", url }).initialize();
    const idle = dataSource.createQueryRunner();
    return {
      transaction: async (work) =>
        dataSource.transaction(async ({ queryRunner }) => work(fromTypeOrm(queryRunner as never))),
      mistakes: [() => fromTypeOrm(idle), () => fromTypeOrm(dataSource.manager as never)],
      close: async () => dataSource.destroy(),
    };
  },
  "fromMikroOrm()": async (url) => {
    const order = new EntitySchema({ name: "Order", properties: { id: { type: "string", primary: true } } });
    const orm = await MikroORM.init({ driver: PostgreSqlDriver, clientUrl: url, entities: [order] });
    return {
      transaction: async (work) => orm.em.fork().transactional(async (em) => work(fromMikroOrm(em))),
      mistakes: [() => fromMikroOrm(orm.em.fork()), () => fromMikroOrm(orm as never)],
      close: async () => orm.close(),
    };
  },
  "fromPostgresJs()": (url) => {
    // As behind a pooler, without a look at the types of arrays.
    const sql = postgres(url, { transform: postgres.camel, fetch_types: false });
    return {
      transaction: async (work) => sql.begin(async (tx) => work(fromPostgresJs(tx))),
      mistakes: [() => fromPostgresJs(sql), () => fromPostgresJs(null as never)],
      close: async () => sql.end(),
    };
  },
};

/** Does what the widely used mappers of column names do. */
function withCamelCase(result: unknown): unknown {
  const { rows } = result as { rows?: Record<string, unknown>[] };
  if (rows === undefined) return result;
  const toCamelCase = (name: string): string => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
  const mapped = rows.map((row) => Object.entries(row).map(([name, value]) => [toCamelCase(name), value]));
  return { ...(result as object), rows: mapped.map((entries) => Object.fromEntries(entries) as object) };
}
