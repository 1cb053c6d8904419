import { escapeIdentifier, escapeLiteral } from "pg";
import type { PostgresResultBackend, PostgresResultBackendOptions } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { postgresMajor } from "../support/postgres-version";
import { specDatabase } from "../support/spec-database";
import { Sdk } from "../telemetry/support/sdk";
import {
  migrateTwice,
  roundOfChecks,
  roundOfGroups,
  roundOfResults,
  type RunSql,
  slowRound,
} from "./support/complete-round";

type Settings = Readonly<Record<string, string>>;

const planSettings = [
  ...["enable_seqscan", "enable_indexscan", "enable_bitmapscan", "enable_indexonlyscan", "enable_tidscan"],
  ...["enable_nestloop", "enable_hashjoin", "enable_mergejoin", "enable_sort", "enable_hashagg", "enable_material"],
  ...["enable_memoize", "enable_incremental_sort", "enable_gathermerge", "enable_partition_pruning"],
];

/** Settings that change nothing, in groups whose members cannot mask one another. */
const harmless: readonly (readonly [string, Settings])[] = [
  ["array_nulls", { array_nulls: "off" }],
  [
    "literals",
    {
      standard_conforming_strings: "off",
      backslash_quote: "off",
      escape_string_warning: "on",
      transform_null_equals: "on",
      quote_all_identifiers: "on",
      lc_messages: "C",
      application_name: "' \"\\odd\\ %s $1",
    },
  ],
  ["literals the other way", { backslash_quote: "on", escape_string_warning: "off", xmloption: "document" }],
  ["formats: German", { datestyle: "German", intervalstyle: "sql_standard", timezone: "Etc/GMT-14" }],
  ["formats: SQL, DMY", { datestyle: "SQL,DMY", intervalstyle: "iso_8601", timezone: "Etc/GMT+12" }],
  ["formats: Postgres, YMD", { datestyle: "Postgres,YMD", intervalstyle: "postgres_verbose", timezone: "<+167>-167" }],
  ["numbers", { extra_float_digits: "-15", bytea_output: "escape", timezone: "Africa/Monrovia" }],
  ["numbers the other way", { extra_float_digits: "3", bytea_output: "hex", lc_monetary: "C", lc_numeric: "C" }],
  ["repeatable read", { default_transaction_isolation: "repeatable read" }],
  ["serializable", { default_transaction_isolation: "serializable", default_transaction_deferrable: "on" }],
  ["row_security", { row_security: "off", check_function_bodies: "off", synchronous_commit: "off" }],
  ["short lock_timeout", { lock_timeout: "50ms" }],
  ["an empty path", { search_path: "" }],
  ["the path of temporary objects", { search_path: "pg_temp" }],
  ["generic plans", { plan_cache_mode: "force_generic_plan", work_mem: "64kB", maintenance_work_mem: "1MB" }],
  ["custom plans", { plan_cache_mode: "force_custom_plan", temp_file_limit: "64kB" }],
  [
    "compilation",
    { jit: "on", jit_above_cost: "0", jit_inline_above_cost: "0", jit_optimize_above_cost: "0", work_mem: "64kB" },
  ],
  [
    "no sequential scans",
    { enable_seqscan: "off", enable_nestloop: "off", enable_sort: "off", enable_material: "off" },
  ],
  [
    "no index scans",
    { enable_indexscan: "off", enable_bitmapscan: "off", enable_indexonlyscan: "off", enable_hashagg: "off" },
  ],
  [
    "parallel plans",
    {
      [postgresMajor() >= 16 ? "debug_parallel_query" : "force_parallel_mode"]: "on",
      parallel_setup_cost: "0",
      parallel_tuple_cost: "0",
      min_parallel_table_scan_size: "0",
    },
  ],
  [
    "storage",
    {
      default_table_access_method: "heap",
      default_toast_compression: "pglz",
      gin_pending_list_limit: "64kB",
      commit_siblings: "0",
      commit_delay: "1000",
    },
  ],
  ["no choice of plans", Object.fromEntries(planSettings.map((name) => [name, "off"]))],
  [
    "planner limits",
    {
      from_collapse_limit: "1",
      join_collapse_limit: "1",
      geqo_threshold: "2",
      constraint_exclusion: "on",
      cpu_tuple_cost: "1000",
    },
  ],
  ["messages", { client_min_messages: "debug1", log_min_error_statement: "panic", track_activities: "off" }],
  ["silence", { "kojin.notify": "off", "kojin.inline_bytes": "7000" }],
  ["client_encoding LATIN1", { client_encoding: "LATIN1" }],
  ["client_encoding SQL_ASCII", { client_encoding: "SQL_ASCII" }],
];

/** Settings that end statements, transactions or sessions. Calls take longer under them, and nothing is lost. */
const impatient: readonly (readonly [string, Settings])[] = [
  ["short statement_timeout", { statement_timeout: "100ms" }],
  ["short idle_in_transaction_session_timeout", { idle_in_transaction_session_timeout: "50ms" }],
  ["short idle_session_timeout", { idle_session_timeout: "50ms" }],
  ...(postgresMajor() >= 17 ? [["short transaction_timeout", { transaction_timeout: "100ms" }] as const] : []),
];

describe("a session with other settings than the default ones", () => {
  const database = specDatabase("settings", { migrated: false });
  const sdk = new Sdk();
  const sql: RunSql = async (text, values) => database.sql(text, values);

  beforeAll(() => sdk.start());
  afterAll(async () => sdk.stop());

  /** The server's address with settings as command-line options. Settings already in the address come first. */
  function addressWith({ application_name: suffix = "", ...settings }: Settings): string {
    const url = new URL(database.url);
    const given = url.searchParams.get("options") ?? "";
    const added = Object.entries(settings).map(([name, value]) => `-c ${name}=${value.replaceAll(/[\\ ]/g, "\\$&")}`);
    url.searchParams.set("options", [given, ...added].join(" ").trim());
    url.searchParams.set("application_name", `${url.searchParams.get("application_name") ?? ""}${suffix}`);
    return url.href;
  }

  async function open(
    schema: string,
    settings: Settings,
    options: PostgresResultBackendOptions = {},
  ): Promise<PostgresResultBackend> {
    database.createSchema(schema);
    return database.open({ schema, retryTimeoutMs: 30_000, ...options }, addressWith(settings));
  }

  describe.each([...harmless, ...impatient])("(%s)", (name, settings) => {
    const schema = `${database.schema} ${name}`;

    it("does all as ever", async () => {
      const backend = await open(schema, settings, { telemetry: true });
      await migrateTwice(backend, schema, sql);
      await roundOfResults(backend, schema, sql);
      await roundOfGroups(backend);
      await roundOfChecks(backend);
      if (impatient.some(([each]) => each === name)) await slowRound(backend);
    });
  });

  it("does all as ever if the settings are those of its role", async () => {
    const [role, schema] = [`spec settings ${process.pid}`, `${database.schema} role`];
    const [name, settings] = [
      escapeIdentifier(role),
      [...harmless.slice(0, 4), ...harmless.slice(-2)].map(([, each]) => each),
    ];
    await database.sql(`create role ${name} superuser login password 'odd'`);
    try {
      for (const [setting, value] of settings.flatMap((each) => Object.entries(each)))
        await database.sql(`alter role ${name} set ${setting} = ${escapeLiteral(value)}`);
      database.createSchema(schema);
      const url = Object.assign(new URL(database.url), { username: role, password: "odd" }).href;
      const backend = await database.open({ schema }, url);
      await migrateTwice(backend, schema, sql);
      await roundOfResults(backend, schema, sql);
      await roundOfGroups(backend);
      await backend.close();
    } finally {
      await eventually(async () => database.sql(`drop owned by ${name} cascade; drop role ${name}`));
    }
  });

  it("announces what it writes even if the session has announcements switched off", async () => {
    const schema = `${database.schema} silent`;
    const backend = await open(schema, { "kojin.notify": "off" }, { sweepIntervalMs: 600_000 });
    await backend.migrate();
    await backend.initGroup("group", 2);
    const waits = [backend.wait("kept", 600_000), backend.wait("one", 600_000), backend.waitGroup("group", 600_000)];
    await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }), {
      timeoutMs: 20_000,
    });
    // Announced by the triggers of results, by a handed payload, and by the triggers of members.
    await backend.store("kept", 1, { onConflict: "keep" });
    await backend.store("one", 1);
    await Promise.all(["a", "b"].map(async (taskId) => backend.completeGroupMember("group", taskId, 1)));
    expect(await Promise.all(waits)).toEqual([1, 1, [1, 1]]);
  });

  it("has writes refused in time if it only reads, with a message that says so, and reads on", async () => {
    const schema = `${database.schema} read only`;
    const writer = await open(schema, {});
    await writer.migrate();
    const reader = await open(schema, { default_transaction_read_only: "on" }, { retryTimeoutMs: 1_000 });
    const held = reader.wait("held", 30_000);
    const refused = {
      name: "DatabaseError",
      sqlState: "25006",
      message: expect.stringMatching(/read-only transaction/) as string,
    };
    const writes = [
      reader.store("refused", 1),
      reader.delete("refused"),
      reader.initGroup("refused", 1),
      reader.completeGroupMember("refused", "a", 1),
      reader.claimGroup("refused"),
      reader.prune(),
    ];
    for (const write of writes) await expect(write).rejects.toMatchObject(refused);
    await writer.store("held", 1);
    expect(await held).toBe(1);
    expect((await reader.health()).problems.join()).toMatch(/read-only|only reads/);
    const other = await open(`${schema} empty`, { default_transaction_read_only: "on" }, { retryTimeoutMs: 1_000 });
    await expect(other.migrate()).rejects.toMatchObject(refused);
  });

  it("tells of session_replication_role = replica, under which results are still found by the sweep", async () => {
    const schema = `${database.schema} replica`;
    const backend = await open(schema, { session_replication_role: "replica" }, { sweepIntervalMs: 300 });
    await backend.migrate();
    expect((await backend.diagnose({ probe: false }))[0]).toMatchObject({
      check: "server",
      verdict: "problem",
      finding: expect.stringMatching(/session_replication_role = replica/) as string,
    });
    expect((await backend.health()).problems.join()).toContain("session_replication_role = replica");
    const waits = ["a", "b", "c"].map(async (taskId) => backend.wait(taskId, 60_000));
    await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }), {
      timeoutMs: 20_000,
    });
    await Promise.all(["a", "b"].map(async (taskId) => backend.store(taskId, taskId)));
    // Only the triggers can announce a result that may be kept.
    await backend.store("c", "c", { onConflict: "keep" });
    expect(await Promise.all(waits)).toEqual(["a", "b", "c"]);
    // Members are counted without the triggers, too.
    await backend.initGroup("group", 3);
    const done = backend.waitGroup("group", 60_000).catch((error: unknown) => error);
    const members = ["a", "b"].map(async (taskId) => backend.completeGroupMember("group", taskId, taskId));
    expect((await Promise.all(members)).sort()).toEqual([1, 2]);
    expect(await backend.completeGroupMember("group", "a", "again")).toBe(2);
    expect(await backend.getGroup("group")).toMatchObject({ completed: 2, failed: 0, done: false });
    await backend.failGroupMember("group", "c", new Error("failed"));
    expect(await done).toMatchObject({ code: "GROUP_FAILED" });
    expect(await backend.getGroupResults("group")).toEqual(["again", "b"]);
  });
});
