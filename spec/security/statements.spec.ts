import { Client, escapeIdentifier } from "pg";
import type { PostgresResultBackend, PostgresResultBackendOptions } from "kojin-postgres";
import { loadParser, sqlNames } from "../../tools/sql/sql-names";
import { cliOf } from "../cli/support/run-cli";
import { specDatabase } from "../support/spec-database";
import { calls, prepare } from "./support/calls";

/** Statements sent by the package in this file, not by the specs themselves. */
const sent = new Set<string>();
// eslint-disable-next-line @typescript-eslint/unbound-method -- called with its client below
const send = Client.prototype.query as (this: Client, ...args: unknown[]) => unknown;

beforeAll(async () => {
  await loadParser();
  Client.prototype.query = function (this: Client, ...args: unknown[]) {
    const [query] = args as [string | { text?: string }];
    const text = typeof query === "string" ? query : query.text;
    const { application_name: name } = (this as unknown as { connectionParameters: { application_name?: string } })
      .connectionParameters;
    if (text !== undefined && name !== "spec admin") sent.add(text);
    return send.apply(this, args);
  } as typeof Client.prototype.query;
});
afterAll(() => {
  Client.prototype.query = send as typeof Client.prototype.query;
});

describe("each statement that is sent", () => {
  const database = specDatabase("statements");
  const cli = cliOf(database);

  async function runAdministration(backend: PostgresResultBackend): Promise<void> {
    await backend.planMigration();
    await backend.migrate({ recount: true });
    await backend.inspect();
    await backend.health();
    await backend.diagnose();
    await backend.countExpired();
    await backend.prune();
    const place = { schema: database.schema };
    await backend.attachQueue("pg-boss", place);
    await backend.detachQueue("pg-boss", place);
  }

  async function writeInTransaction(backend: PostgresResultBackend, id: string): Promise<void> {
    const client = await database.pool.connect();
    try {
      await client.query("begin");
      const recording = {
        query: async (text: string, values: unknown[] = []) => (sent.add(text), client.query(text, values)),
      };
      await backend.store(id, 1, { client: recording });
      await backend.store(id, 1, { client: recording, onConflict: "keep" });
      await backend.initGroup(id, 1, { client: recording });
      await backend.completeGroupMember(id, "a", 1, { client: recording });
      await backend.claimGroup(id, { client: recording });
      await client.query("commit");
    } finally {
      client.release();
    }
  }

  const variants: PostgresResultBackendOptions[] = [
    {},
    { notify: "deferred" },
    { inlineResultBytes: 1_000 },
    { telemetry: true },
    { telemetry: true, notify: "deferred" },
  ];

  it("has no name that is looked up along the search path", async () => {
    await database.sql(`create table ${escapeIdentifier(database.schema)}.job (id text, state text, output jsonb)`);
    for (const [index, options] of variants.entries()) {
      const backend = await database.open(options);
      await backend.ready();
      // Another backend wakes the waits, since one of these does not notify.
      const owner = await database.open();
      for (const [name, call] of Object.entries(calls)) {
        const id = `${index} ${name}`;
        await prepare(owner, id);
        await call({ backend, owner, id });
      }
      await Promise.all(Array.from({ length: 20 }, async (_each, place) => backend.store(`${index} ${place}`, place)));
      await writeInTransaction(backend, `${index} in transaction`);
      await runAdministration(backend);
    }
    for (const command of ["migrate", "status", "doctor", "prune --yes", "store a 1", "get a", "group 0", "wait a"])
      await cli.run(command.split(" "));

    expect(sent.size).toBeGreaterThan(60);
    const found = [...sent].flatMap(
      (text) => sqlNames(text, { schemas: [database.schema], transitionTables: ["new_rows", "old_rows"] }).unqualified,
    );
    expect(found).toEqual([]);
  }, 240_000);
});
