import { specDatabase } from "../support/spec-database";

const database = specDatabase("access");

describe("what keeps a role from storing or seeing results", () => {
  const role = `access_${process.pid}`;
  const table = `"${database.schema}".kojin_results`;
  const address = (): string => {
    const url = new URL(database.url);
    [url.username, url.password] = [role, "secret"];
    return url.href;
  };
  beforeAll(async () => {
    await database.sql(`create role ${role} login password 'secret'`);
    await database.sql(`grant usage on schema "${database.schema}" to ${role}`);
    await database.sql(`grant select, insert, update, delete on all tables in schema "${database.schema}" to ${role}`);
  });
  afterAll(async () => {
    await database.sql(`drop owned by ${role}`);
    await database.sql(`drop role ${role}`);
  });
  const problems = async (): Promise<string> => {
    const backend = await database.open({}, address());
    const { problems: found } = await backend.health();
    const checks = await backend.diagnose({ probe: false });
    const access = checks.find(({ check }) => check === "access");
    expect(access?.verdict).toBe(found.some((each) => /Row security|read-only/.test(each)) ? "problem" : "ok");
    await backend.close();
    return found.join("\n");
  };

  it("is nothing by default", async () => {
    expect(await problems()).not.toMatch(/Row security|read-only/);
  });

  it("is a read-only session", async () => {
    await database.sql(`alter role ${role} set default_transaction_read_only = on`);
    expect(await problems()).toContain("Transactions are read-only");
    await database.sql(`alter role ${role} reset default_transaction_read_only`);
  });

  it("is row security without a policy that shows all rows to this role", async () => {
    await database.sql(`alter table ${table} enable row level security`);
    expect(await problems()).toContain("Row security hides rows of kojin_results from this role");
    await database.sql(`create policy partly on ${table} to ${role} using (task_id = 'a')`);
    expect(await problems()).toContain("Row security hides rows of kojin_results");
    await database.sql(`create policy everything on ${table} for select to ${role} using (true)`);
    expect(await problems()).not.toContain("Row security");
    await database.sql(`alter table ${table} disable row level security`);
  });
});
