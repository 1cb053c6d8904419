import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Client, escapeIdentifier } from "pg";
import { filter, firstValueFrom } from "rxjs";
import { type PostgresResultBackend, TaskFailedError } from "kojin-postgres";
import { eventually } from "./support/eventually";
import { specDatabase } from "./support/spec-database";

const page = readFileSync(join(__dirname, "..", "docs", "sql.md"), "utf8");

/** Returns the statements in the blocks of one language, with the placeholders of PostgreSQL. */
function statementsIn(language: string): string[] {
  const blocks = [...page.matchAll(/^```(\w+)\n(.*?)^```$/gms)].filter(([, name]) => name === language);
  const code = blocks.map(([, , text = ""]) => text).join("");
  if (language === "sql") return code.split(/;\n/).filter((text) => text.trim() !== "");
  return [...code.matchAll(/"(select kojin_[^"]*)"/g)].map(([, text = ""]) => {
    let place = 0;
    return text.replaceAll("%s", () => `$${(place += 1)}`);
  });
}

/** Values for the placeholders of each statement. */
const values: Record<string, readonly string[]> = {
  kojin_store: ["email-42", '{"sent": true}', "7 days"],
  kojin_fail: ["email-43", "mailbox full", "QuotaError", '{"used": 1}'],
  kojin_complete_member: ["album", "photo-1", '{"width": 640}'],
  kojin_fail_member: ["album", "photo-2", "not an image"],
  kojin_emit: ["answer-1", '{"text": "Hello"}'],
};

describe("the SQL functions for writers", () => {
  const database = specDatabase("sql functions");
  const schema = escapeIdentifier(database.schema);
  const call = async (text: string, given: readonly unknown[] = []): Promise<unknown> =>
    Object.values((await client.query<Record<string, unknown>>(text, [...given])).rows[0] ?? {})[0];
  let client: Client;
  let backend: PostgresResultBackend;

  beforeAll(async () => {
    client = new Client({ connectionString: process.env["DATABASE_URL"] });
    await client.connect();
    await client.query(`set search_path = ${schema}`);
  });
  afterAll(async () => client.end());
  beforeEach(async () => {
    await database.sql(`truncate ${schema}.kojin_results, ${schema}.kojin_groups, ${schema}.kojin_group_state`);
    await database.sql(`delete from ${schema}.kojin_streams`);
    // Without a sweep, every wait ends by a notification.
    backend = await database.open({ sweepIntervalMs: 600_000 });
  });

  it.each(["python", "go", "rust"])("work as documented for %s", async (language) => {
    await backend.initGroup("album", 2);
    const statements = statementsIn(language);
    expect(statements.map((text) => /kojin_\w+/.exec(text)?.[0])).toEqual(Object.keys(values));
    for (const text of statements) {
      const given = values[/kojin_\w+/.exec(text)?.[0] ?? ""]?.slice(0, text.split("$").length - 1) ?? [];
      expect(await call(text, given)).toBe(text.includes("_member") ? 1 : text.includes("_emit") ? "1" : "");
    }
    expect(await backend.get("email-42")).toEqual({ sent: true });
    const failure = { name: "QuotaError", message: "mailbox full", details: { used: 1 } };
    expect(await backend.getSettled("email-43")).toMatchObject({ status: "rejected", reason: { failure } });
    expect(await backend.getGroup("album")).toMatchObject({ total: 2, completed: 1, failed: 1, done: true });
    expect(await backend.getGroupResults("album")).toEqual([{ width: 640 }]);
    expect(await firstValueFrom(backend.chunks$("answer-1"))).toMatchObject({ attempt: 1, value: { text: "Hello" } });
  });

  it("work as documented for psql", async () => {
    await backend.initGroup("album", 2);
    await backend.ready();
    const ids = ["email-42", "report-7", "report-8", "email-43", "email-44"];
    const waits = Promise.all(ids.map(async (id) => backend.waitSettled(id, 30_000)));
    const group = backend.waitGroup("album", 30_000).catch((error: unknown) => error);
    const restarted = firstValueFrom(backend.chunks$("answer-1").pipe(filter(({ attempt }) => attempt === 2)));
    for (const text of statementsIn("sql")) await call(text);
    const outcomes = await waits;
    expect(outcomes.slice(0, 3)).toEqual(
      [{ sent: true }, [1, 2, 3], "kept for ever"].map((value) => ({ status: "fulfilled", value })),
    );
    expect(outcomes.slice(3)).toMatchObject([
      { reason: { failure: { name: "Error", message: "no such mailbox" } } },
      { reason: { failure: { name: "QuotaError", message: "mailbox full", details: { used: "100 %" } } } },
    ]);
    expect(await group).toMatchObject({ failures: [{ failure: { name: "FormatError", message: "not an image" } }] });
    // With a restart item before it if the first attempt was read.
    expect(await restarted).toMatchObject({ attempt: 2 });
    expect(await firstValueFrom(backend.chunks$("answer-1"))).toMatchObject({ sequence: 1, value: { percent: 10 } });
    const lifetimes = await database.sql<{ hours: number | null }>(
      `select round(extract(epoch from expires_at - stored_at) / 3600)::int as hours
       from ${schema}.kojin_results where task_id = any($1) order by array_position($1, task_id)`,
      [ids],
    );
    expect(lifetimes.map(({ hours }) => hours)).toEqual([24, 168, null, 24, 1]);
  });

  it("replace an outcome with all that belongs to it", async () => {
    await call("select kojin_fail('t', 'first', details => '1')");
    await call("select kojin_store('t', '1')");
    expect(await backend.get("t")).toBe(1);
    await call("select kojin_fail('t', 'second')");
    await expect(backend.get("t")).rejects.toBeInstanceOf(TaskFailedError);
    await call("select kojin_store('t', null)");
    expect(await backend.get("t")).toBeNull();
  });

  it("fill in what a caller leaves null", async () => {
    await call("select kojin_fail('t', null, null, null, null)");
    expect(await backend.getSettled("t")).toMatchObject({ reason: { failure: { name: "Error", message: "" } } });
    expect(await call("select kojin_complete_member('g', 'a', null)")).toBe(1);
    expect(await backend.getGroupResults("g")).toEqual([null]);
  });

  it("are seen by streams, with the value that was committed, like any result", async () => {
    await backend.ready();
    const seen: unknown[] = [];
    const subscription = backend.results$().subscribe((outcome) => seen.push(outcome));
    await backend.store("before", 0);
    await backend.wait("before", 30_000);
    await client.query("begin");
    await call("select kojin_store('in', '1')");
    await call("select kojin_store('in', '2')");
    await client.query("commit");
    expect(await backend.wait("in", 30_000)).toBe(2);
    await backend.store("after", 3);
    await backend.wait("after", 30_000);
    // The stream has reads of its own, which may be answered in any order.
    for (const outcome of [
      { taskId: "in", status: "fulfilled", value: 2 },
      { taskId: "after", status: "fulfilled", value: 3 },
    ])
      await eventually(() => expect(seen).toContainEqual(outcome));
    subscription.unsubscribe();
  });

  it("take part in the transaction around them", async () => {
    await client.query("begin");
    await call("select kojin_store('t', '1')");
    await call("select kojin_complete_member('g', 'a', '1')");
    await client.query("rollback");
    expect(await backend.get("t")).toBeUndefined();
    expect(await backend.getGroup("g")).toBeUndefined();
  });

  it.each([
    ["select kojin_store('', '1')", "22023"],
    ["select kojin_store(null, '1')", "22023"],
    ["select kojin_store(repeat('é', 257), '1')", "22023"],
    ["select kojin_fail('', 'x')", "22023"],
    ["select kojin_store('t', '1', '0')", "22023"],
    ["select kojin_fail('t', 'x', ttl => '-1 second')", "22023"],
    ["select kojin_complete_member('', 't', '1')", "22023"],
    ["select kojin_fail_member('g', '', 'x')", "22023"],
    ["select kojin_complete_member('declared', 'b', '1')", "KJ002"],
    ["select kojin_fail_member('full', 'b', 'x')", "KJ002"],
  ])("refuse %s", async (text, code) => {
    await backend.initGroup("declared", ["a"]);
    await backend.initGroup("full", 1);
    await backend.completeGroupMember("full", "a", 1);
    await expect(call(text)).rejects.toMatchObject({ code });
    expect(await database.sql(`select from ${schema}.kojin_results`)).toEqual([]);
  });

  it("accept ids of 1 and of 512 bytes", async () => {
    for (const id of ["x", "é".repeat(256)]) {
      await call("select kojin_store($1, '1')", [id]);
      expect(await backend.get(id)).toBe(1);
    }
  });
});
