import type { SqlClient } from "../result-backend";
import { typeName } from "../value/arguments";

// The types below are those parts of each library that are used, so that none of them is a dependency. A parameter of
// type `never` accepts the library's own type, which only its own package can name.

/** The `tx` of Prisma's `$transaction(async (tx) => …)`. */
export interface PrismaTransaction {
  $queryRawUnsafe(query: string, ...values: never[]): PromiseLike<unknown>;
}

/** The `tx` of Drizzle's `db.transaction(async (tx) => …)`, with any of its PostgreSQL drivers. */
export interface DrizzleTransaction {
  execute(query: never): PromiseLike<unknown>;
  rollback(): never;
}

/** The `trx` of Kysely's `db.transaction()`, or a controlled transaction of `db.startTransaction()`. */
export interface KyselyTransaction {
  readonly isTransaction: boolean;
  withoutPlugins(): { executeQuery(query: never): PromiseLike<{ readonly rows: readonly unknown[] }> };
}

/** The `trx` of Knex's `knex.transaction(async (trx) => …)`. */
export interface KnexTransaction {
  readonly isTransaction?: boolean;
  raw(sql: string, bindings: never): PromiseLike<unknown>;
}

/** A `QueryRunner` of TypeORM with an open transaction, such as `manager.queryRunner` inside `transaction`. */
export interface TypeOrmQueryRunner {
  readonly isTransactionActive: boolean;
  query(query: string, parameters: never, useStructuredResult: true): PromiseLike<unknown>;
}

/** The `em` of MikroORM's `em.transactional(async (em) => …)`, or one on which `begin` was called. */
export interface MikroOrmEntityManager {
  getTransactionContext(): unknown;
}

/** The `sql` of Postgres.js' `sql.begin(async (sql) => …)`, or a reserved connection with an open transaction. */
export interface PostgresJsTransaction {
  unsafe(query: string, parameters: never): PromiseLike<readonly unknown[]>;
}

/**
 * Lets writes take part in a transaction of Prisma, version 7 or another with a driver adapter.
 *
 * @throws TypeError It is not a transaction.
 */
export function fromPrisma(tx: PrismaTransaction): SqlClient {
  // A client outside a transaction can begin one.
  const isTransaction = hasMethods(tx, "$queryRawUnsafe") && !hasMethods(tx, "$connect");
  check(isTransaction, "tx", "a transaction of Prisma", tx);
  return clientOf(async (text, values) => tx.$queryRawUnsafe(text, ...(values as never[])), prismaCause);
}

/**
 * Lets writes take part in a transaction of Drizzle.
 *
 * @throws TypeError It is not a transaction.
 */
export function fromDrizzle(tx: DrizzleTransaction): SqlClient {
  check(hasMethods(tx, "execute", "rollback"), "tx", "a transaction of Drizzle", tx);
  return clientOf(
    async (text, values) => {
      const query = { getSQL: () => ({ toQuery: () => ({ sql: text, params: values }) }) };
      const result = await tx.execute(query as never);
      // Each driver returns its own result, which is an array or has one.
      return Array.isArray(result) ? result : (result as { rows: unknown }).rows;
    },
    (error) => fieldsOf(error)["cause"],
  );
}

/**
 * Lets writes take part in a transaction of Kysely. Its plugins do not see the statements.
 *
 * @throws TypeError It is not a transaction.
 */
export function fromKysely(trx: KyselyTransaction): SqlClient {
  const isTransaction = hasMethods(trx, "withoutPlugins") && trx.isTransaction;
  check(isTransaction, "trx", "a transaction of Kysely", trx);
  const plain = trx.withoutPlugins();
  return clientOf(async (text, values) => {
    const node = { kind: "RawNode", sqlFragments: [text], parameters: [] };
    const query = { sql: text, parameters: values, query: node, queryId: { queryId: "kojin" } };
    return (await plain.executeQuery(query as never)).rows;
  });
}

/**
 * Lets writes take part in a transaction of Knex.
 *
 * @throws TypeError It is not a transaction.
 */
export function fromKnex(trx: KnexTransaction): SqlClient {
  check(hasMethods(trx, "raw") && trx.isTransaction === true, "trx", "a transaction of Knex", trx);
  return clientOf(async (text, values) => {
    const bindings: unknown[] = [];
    // Knex numbers the values itself, so one that is used twice is bound twice. It also looks inside of quotes.
    const sql = text.replace(/"[^"]*"|'[^']*'|\$(\d+)|\?/g, (part, place?: string) => {
      if (place === undefined) return part.replaceAll("?", "\\?");
      bindings.push(values[Number(place) - 1]);
      return "?";
    });
    return ((await trx.raw(sql, bindings as never)) as { rows: unknown }).rows;
  });
}

/**
 * Lets writes take part in the transaction of a TypeORM query runner.
 *
 * @throws TypeError It is not a query runner, or has no open transaction.
 */
export function fromTypeOrm(runner: TypeOrmQueryRunner): SqlClient {
  const isTransaction = hasMethods(runner, "query") && runner.isTransactionActive;
  check(isTransaction, "runner", "a query runner of TypeORM with an open transaction", runner);
  return clientOf(
    async (text, values) => ((await runner.query(text, values as never, true)) as { records: unknown }).records,
    (error) => fieldsOf(error)["driverError"],
  );
}

/**
 * Lets writes take part in the transaction of a MikroORM entity manager, version 6 or 7. Does not flush the manager.
 *
 * @throws TypeError It is not an entity manager, or has no open transaction.
 */
export function fromMikroOrm(em: MikroOrmEntityManager): SqlClient {
  const context = hasMethods(em, "getTransactionContext") ? em.getTransactionContext() : undefined;
  // Version 6 is built on Knex, version 7 on Kysely.
  if (hasMethods(context, "withoutPlugins")) return fromKysely(context as KyselyTransaction);
  check(hasMethods(context, "raw"), "em", "an entity manager of MikroORM with an open transaction", em);
  return fromKnex(context as KnexTransaction);
}

/**
 * Lets writes take part in a transaction of Postgres.js.
 *
 * @throws TypeError It is not a transaction.
 */
export function fromPostgresJs(sql: PostgresJsTransaction): SqlClient {
  const isTransaction = hasMethods(sql, "unsafe") && (hasMethods(sql, "savepoint") || hasMethods(sql, "release"));
  check(isTransaction, "sql", "the sql of a Postgres.js transaction", sql);
  return clientOf(async (text, values) => sql.unsafe(text, values as never));
}

/**
 * Creates the client of a library.
 *
 * @param run - Runs a statement and resolves with its rows.
 * @param causeOf - Returns the error of the driver that an error of the library wraps; only that one has a SQLSTATE.
 */
function clientOf(
  run: (text: string, values: unknown[]) => Promise<unknown>,
  causeOf: (error: unknown) => unknown = () => undefined,
): SqlClient {
  return {
    query: async (text, values) => {
      const rows = await run(text, values).catch((error: unknown) => {
        throw causeOf(error) ?? error;
      });
      return { rows: rows as Record<string, unknown>[] };
    },
  };
}

/** Creates an error like the driver's from what Prisma's adapter tells about it. */
function prismaCause(error: unknown): Error | undefined {
  const { driverAdapterError } = fieldsOf(fieldsOf(error)["meta"]);
  const { originalCode, originalMessage, severity = "ERROR" } = fieldsOf(fieldsOf(driverAdapterError)["cause"]);
  if (originalCode === undefined) return undefined;
  return Object.assign(new Error(String(originalMessage), { cause: error }), { code: originalCode, severity });
}

function check(isTransaction: boolean, name: string, expected: string, given: unknown): void {
  if (!isTransaction) throw new TypeError(`${name}: expected ${expected}, got ${typeName(given)}.`);
}

const hasMethods = (value: unknown, ...names: string[]): boolean =>
  names.every((name) => typeof fieldsOf(value)[name] === "function");

/** Some libraries represent a transaction as a function. */
const fieldsOf = (value: unknown): Record<string, unknown> =>
  ((typeof value === "object" && value !== null) || typeof value === "function" ? value : {}) as Record<
    string,
    unknown
  >;
