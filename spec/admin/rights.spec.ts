import { escapeIdentifier } from "pg";
import type { Diagnosis } from "kojin-postgres";
import { Logins } from "../security/support/logins";
import { specDatabase } from "../support/spec-database";

describe("the rights that diagnose checks", () => {
  const database = specDatabase("rights");
  const logins = new Logins(database);
  const schema = escapeIdentifier(database.schema);
  const worker = logins.name("crate_worker");

  beforeAll(async () => {
    await logins.create("crate_worker");
    await database.sql(`grant usage on schema ${schema} to ${worker}`);
  });

  async function rights(): Promise<Diagnosis | undefined> {
    const backend = await database.open();
    return (await backend.diagnose({ probe: false })).find(({ check }) => check === "rights");
  }

  it("are fine if only the owner has TRIGGER and CREATE; roles with other rights are named", async () => {
    expect(await rights()).toMatchObject({ verdict: "ok" });
    await database.sql(`grant select, insert, update on ${schema}.kojin_results to ${worker}`);
    const found = await rights();
    expect(found).toMatchObject({ verdict: "ok" });
    expect(found?.finding).toContain(`${worker} (kojin_results)`);
  });

  it("include TRIGGER, which `grant all` gives", async () => {
    await database.sql(`grant all on ${schema}.kojin_groups to ${worker}`);
    const found = await rights();
    expect(found).toMatchObject({ verdict: "warning" });
    expect(found?.finding).toContain(`Roles with TRIGGER on the tables: ${worker} (kojin_groups)`);
    await database.sql(`revoke trigger on ${schema}.kojin_groups from ${worker}`);
    expect(await rights()).toMatchObject({ verdict: "ok" });
  });

  it("include CREATE on the schema", async () => {
    await database.sql(`grant create on schema ${schema} to public`);
    const found = await rights();
    expect(found?.finding).toContain("Roles with CREATE on the schema: PUBLIC");
    await database.sql(`revoke create on schema ${schema} from public`);
  });

  it("include triggers that call functions of other roles", async () => {
    await database.sql(`grant create on schema ${schema} to ${worker}`);
    await database.sql(`create function ${schema}.spy() returns trigger language plpgsql as 'begin return null; end'`);
    await database.sql(`alter function ${schema}.spy() owner to ${worker}`);
    await database.sql(`revoke create on schema ${schema} from ${worker}`);
    await database.sql(
      `create trigger spying after insert on ${schema}.kojin_groups for each statement execute function ${schema}.spy()`,
    );
    const found = await rights();
    expect(found).toMatchObject({ verdict: "warning" });
    expect(found?.finding).toContain(`Triggers with functions of other roles: ${worker} (spying)`);
  });
});
