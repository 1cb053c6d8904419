import { DatabaseError } from "kojin-postgres";
import { faultSuite } from "./support/fault-suite";

describe("an error in what the application has put on the tables", () => {
  const suite = faultSuite();

  /** Adds a trigger of the application that runs before rows of a table are written. */
  async function addTrigger(table: string, name: string, body: string): Promise<() => Promise<void>> {
    await suite.server.sql(
      `create function ${name}() returns trigger language plpgsql as $$ begin ${body}; return new; end $$;
       create trigger ${name} before insert on ${table} for each row execute function ${name}()`,
    );
    return async () => {
      await suite.server.sql(`drop function ${name}() cascade`);
    };
  }

  it.each([
    ["a table", "insert into audit_log values (new.task_id)", "42P01", 'relation "audit_log" does not exist'],
    ["a column", "perform new.missing", "42703", 'record "new" has no field "missing"'],
    ["a function", "perform record_audit()", "42883", "function record_audit() does not exist"],
    ["a schema", "execute 'create table missing.log ()'", "3F000", 'schema "missing" does not exist'],
  ])("is reported as itself, where %s is missing", async (_what, body, sqlState, message) => {
    const backend = await suite.open();
    for (const [table, write] of [
      ["kojin_results", async () => backend.store("audited", 1)],
      ["kojin_groups", async () => backend.completeGroupMember("audited", "task", 1)],
    ] as const) {
      const drop = await addTrigger(table, "audit", body);
      const error: unknown = await write().catch((thrown: unknown) => thrown);
      await drop();
      expect(error).toMatchObject({ name: "DatabaseError", sqlState, transient: false });
      expect((error as Error).message).toContain(message);
      expect((error as Error).message).toContain("audit() line 1");
    }
    await backend.close();
  });

  it("names the function in which a lock was not to be had", async () => {
    const backend = await suite.open({ retryTimeoutMs: 4_000 });
    await backend.store("locked", 1);
    const client = await suite.connect();
    await client.query("begin; select from kojin_results where task_id = 'locked' for update");
    const error: unknown = await backend.store("locked", 2).catch((thrown: unknown) => thrown);
    await client.query("rollback");
    expect(error).toMatchObject({ name: "DatabaseError", sqlState: "55P03" });
    // If the answer to the last attempt comes late, the call has rejected before it, because of the one before.
    const { message, cause } = error as DatabaseError;
    expect(cause instanceof DatabaseError ? cause.message : message).toMatch(
      / \(PL\/pgSQL function \S*kojin_store_row\(.*\) line \d+ at SQL statement\)$/,
    );
    await backend.close();
  });

  it("is reported as itself also by a client of the caller's", async () => {
    const backend = await suite.open();
    const drop = await addTrigger("kojin_results", "audit", "insert into audit_log values (new.task_id)");
    const client = await suite.connect();
    await client.query("begin");
    await expect(backend.store("audited", 1, { client })).rejects.toMatchObject({
      name: "DatabaseError",
      sqlState: "42P01",
    });
    await client.query("rollback");
    await drop();
    await backend.close();
  });

  it("of a policy rejects reads of its own row, and no other read or wait", async () => {
    await suite.server.sql(
      `create function may_read(task_id text) returns boolean language plpgsql as
         $$ begin if task_id = 'secret' then perform record_audit(); end if; return true; end $$;
       create role reading login password 'reading';
       grant select on all tables in schema public to reading;
       alter table kojin_results enable row level security;
       create policy reads on kojin_results using (may_read(task_id))`,
    );
    const [writer, reader] = [
      await suite.open(),
      await suite.open({}, Object.assign(new URL(suite.server.url), { username: "reading", password: "reading" }).href),
    ];
    await writer.store("secret", 1);
    const reads = ["a", "secret", "b"].map(async (id) => reader.get(id));
    const wait = reader.wait("a", 30_000);
    expect(await Promise.allSettled(reads)).toMatchObject([
      { status: "fulfilled" },
      { status: "rejected", reason: { name: "DatabaseError", sqlState: "42883" } },
      { status: "fulfilled" },
    ]);
    await writer.store("a", 1);
    expect(await wait).toBe(1);
    await suite.server.sql("alter table kojin_results disable row level security; drop policy reads on kojin_results");
    await Promise.all([writer.close(), reader.close()]);
  });

  it("is still told of the schema, where that is what is missing, and says what", async () => {
    const backend = await suite.open({ schema: "never" });
    const missing = { name: "SchemaError", schema: "never", reason: "missing" };
    await expect(backend.store("task", 1)).rejects.toMatchObject(missing);
    await backend.migrate();
    await backend.store("task", 1);
    await suite.server.sql("alter table never.kojin_results rename to elsewhere");
    const error: unknown = await backend.get("task").catch((thrown: unknown) => thrown);
    expect(error).toMatchObject(missing);
    expect((error as Error).message).toContain('relation "never.kojin_results" does not exist');
    await suite.server.sql("alter table never.elsewhere rename to kojin_results");
    await suite.server.sql("alter table never.kojin_group_state rename to elsewhere");
    await expect(backend.completeGroupMember("group", "task", 1)).rejects.toMatchObject(missing);
    await backend.close();
  });
});
