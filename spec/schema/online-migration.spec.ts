import { escapeIdentifier } from "pg";
import type { MigrationProgress } from "kojin-postgres";
import { migrations } from "../../lib/schema/migration-files";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { BusyWorker, createCrateTables } from "./support/crate-tables";

/** What is counted for groups differs from what their members say; nothing, if all is well. */
const differencesText = (name: string): string => `
  select group_id, state.counted, state.total, state.completed, rows.completed as members, rows.unnumbered
  from ${name}.kojin_group_state as state
  full join (
    select group_id, count(*) filter (where completed and result is not null)::int as completed,
      count(*) filter (where completed is not true and task_id like '%:placeholder:%')::int as placeholders,
      count(*) filter (where completed and result is not null and finished_seq is null)::int as unnumbered
    from ${name}.kojin_groups group by group_id
  ) as rows using (group_id)
  where state.counted is not true or state.completed is distinct from rows.completed or state.placeholders is distinct from rows.placeholders
    or rows.unnumbered <> 0 or (state.completed_at is not null) is distinct from (state.completed >= state.total and state.total is not null)
  limit 5`;

describe("migrate() while workers of the Rust crate write", () => {
  const database = specDatabase("online migration", { migrated: false });
  let counter = 0;

  async function crateSchema(groups: number, members: number): Promise<string> {
    counter += 1;
    const schema = `${database.schema} ${counter}`;
    database.createSchema(schema);
    await createCrateTables(database, schema);
    const name = escapeIdentifier(schema);
    // Half of each group's rows are placeholders, and half are members: in every other group all of them are completed,
    // and the group is done.
    await database.sql(
      `insert into ${name}.kojin_groups (group_id, task_id, result, completed)
       select 'group ' || g, case when m <= $3 then 'group ' || g || ':placeholder:' || m else 'task ' || m end,
         case when m > $3 and (g % 2 = 0 or m > $2 - $3 / 2) then '{"a": 1}'::jsonb end, m > $3
       from generate_series(1, $1::int) as g, generate_series(1, $2::int) as m`,
      [groups, members, Math.ceil(members / 2)],
    );
    await database.sql(
      `insert into ${name}.kojin_results (task_id, result) select 'task ' || i, to_jsonb(i) from generate_series(1, $1::int * $2::int / 4) as i`,
      [groups, members],
    );
    return schema;
  }

  it("holds up no statement for longer than 2 s over 400 000 rows, and counts every member once", async () => {
    const schema = await crateSchema(4_000, 100);
    const backend = await database.open({ schema });
    const workers = [1, 2].map((number) => new BusyWorker(database, schema, number));
    for (const worker of workers)
      worker.start(Array.from({ length: 500 }, (_, index) => `group ${1 + ((index * 19) % 4_000)}`));
    const progress: MigrationProgress[] = [];
    const { applied } = await backend.migrate({ onProgress: (each) => progress.push(each) });
    await Promise.all(workers.map(async (worker) => worker.stop()));
    expect(applied).toHaveLength(migrations.length);
    expect(await database.sql(differencesText(escapeIdentifier(schema)))).toEqual([]);
    const numbered = progress.filter(({ step }) => step === "Members from before").at(-1);
    expect(numbered?.rows).toBeGreaterThanOrEqual(400_000);
    for (const { longestMs } of workers) expect(longestMs).toBeLessThan(2_000);
    // Making the rows takes longer than the migration.
  }, 900_000);

  it("asks for its locks again and again while a transaction of the application reads, and names that one", async () => {
    const schema = await crateSchema(20, 10);
    const reader = await database.pool.connect();
    await reader.query("set application_name = 'nightly report'");
    await reader.query("begin");
    await reader.query(`select count(*) from ${escapeIdentifier(schema)}.kojin_results`);
    const worker = new BusyWorker(database, schema, 1);
    worker.start(["group 1", "group 2"]);
    const backend = await database.open({ schema });
    const waits: string[] = [];
    const migrated = backend.migrate({ onProgress: ({ waitingFor }) => waits.push(waitingFor ?? "") });
    await eventually(() =>
      expect(waits.filter((text) => text.includes('application "nightly report"')).length).toBeGreaterThan(2),
    );
    await expect(backend.get("t")).rejects.toMatchObject({ code: "SCHEMA", reason: "outdated" });
    await reader.query("commit");
    await reader.query("reset application_name");
    reader.release();
    expect((await migrated).applied).toHaveLength(migrations.length);
    await worker.stop();
    expect(worker.longestMs).toBeLessThan(2_000);
    expect(await database.sql(differencesText(escapeIdentifier(schema)))).toEqual([]);
  }, 120_000);

  it("gives up where a table stays locked for longer than lockWaitMs, and goes on from there when it is called again", async () => {
    const schema = await crateSchema(5, 10);
    const writer = await database.pool.connect();
    await writer.query("begin");
    await writer.query(
      `insert into ${escapeIdentifier(schema)}.kojin_groups (group_id, task_id) values ('group 1', 'late')`,
    );
    const backend = await database.open({ schema });
    await expect(backend.migrate({ lockWaitMs: 1_000 })).rejects.toMatchObject({
      name: "DatabaseError",
      sqlState: "55P03",
      transient: true,
      message: expect.stringMatching(
        /a lock on its tables, held by process \d+ \(application "spec admin", user ".+", idle in transaction, for \d+ s\)/,
      ) as unknown,
    });
    await writer.query("commit");
    writer.release();
    const steps: string[] = [];
    await backend.migrate({ onProgress: ({ migration, step }) => steps.push(`${migration}: ${step}`) });
    expect(steps[0]).toBe("0002_groups: Columns of kojin_groups");
    expect(await database.sql(differencesText(escapeIdentifier(schema)))).toEqual([]);
  });

  it("goes on where a process has died in the middle of the pages", async () => {
    const schema = await crateSchema(300, 20);
    const backend = await database.open({ schema });
    const dies = ({ step, rows }: MigrationProgress): void => {
      if (step === "Members from before" && rows > 0) throw new Error("died");
    };
    await expect(backend.migrate({ onProgress: dies })).rejects.toThrow("died");
    const worker = new BusyWorker(database, schema, 1);
    worker.start(["group 1", "group 200"]);
    await eventually(() => expect(worker.completed.size).toBeGreaterThan(3));
    const steps: string[] = [];
    const { applied } = await backend.migrate({ onProgress: ({ step }) => steps.push(step) });
    await worker.stop();
    expect(applied).toEqual(migrations.slice(1).map(({ version, name }) => ({ version, name })));
    expect(steps[0]).toBe("Members from before");
    expect(await database.sql(differencesText(escapeIdentifier(schema)))).toEqual([]);
  }, 120_000);

  it("is shared by any number of processes", async () => {
    const schema = await crateSchema(400, 20);
    const backends = await Promise.all(Array.from({ length: 6 }, async () => database.open({ schema })));
    const worker = new BusyWorker(database, schema, 1);
    worker.start(["group 1", "group 399"]);
    const reports = await Promise.all(backends.map(async (backend) => backend.migrate()));
    await worker.stop();
    const applied = reports.flatMap((report) => report.applied.map(({ name }) => name));
    expect(applied.sort()).toEqual(migrations.map(({ name }) => name));
    expect(await database.sql(differencesText(escapeIdentifier(schema)))).toEqual([]);
  }, 120_000);

  it("builds the indexes of a large table concurrently, also after such a build was interrupted, and rewrites no table", async () => {
    const schema = await crateSchema(5, 10);
    const name = escapeIdentifier(schema);
    await database.sql(
      `insert into ${name}.kojin_results (task_id, result) select 'large ' || i, to_jsonb(repeat(md5(i::text), 40)) from generate_series(1, 30000) as i`,
    );
    await database.sql(`drop index ${name}.idx_kojin_results_expires`);
    await database.sql(
      `create index idx_kojin_results_expires on ${name}.kojin_results (expires_at) where expires_at is not null`,
    );
    // As an interrupted build leaves it.
    await database.sql("update pg_index set indisvalid = false where indexrelid = $1::text::regclass", [
      `${name}.idx_kojin_results_expires`,
    ]);
    const files = async (): Promise<unknown> =>
      database.sql(
        "select relname, pg_relation_filenode(oid) from pg_class where relkind = 'r' and relname in ('kojin_results', 'kojin_groups') and relnamespace = $1::text::regnamespace order by relname",
        [name],
      );
    const before = await files();
    const backend = await database.open({ schema });
    // A build waits for transactions that were open when it began; here it shows which kind of build it is.
    const reader = await database.pool.connect();
    await reader.query("begin isolation level repeatable read");
    await reader.query("select from pg_class");
    const waits: string[] = [];
    const migrated = backend.migrate({ onProgress: ({ waitingFor }) => waits.push(waitingFor ?? "") });
    await eventually(() => expect(waits.join()).toContain('application "spec admin"'));
    await eventually(async () =>
      expect(
        await database.sql("select command from pg_stat_progress_create_index where relid = $1::text::regclass", [
          `${name}.kojin_results`,
        ]),
      ).toEqual([{ command: "CREATE INDEX CONCURRENTLY" }]),
    );
    await database.sql(`insert into ${name}.kojin_results (task_id, result) values ('meanwhile', '1')`);
    await reader.query("commit");
    reader.release();
    await migrated;
    expect(await files()).toEqual(before);
    expect(
      await database.sql(
        "select indexrelid::regclass::text from pg_index where not indisvalid and indrelid = $1::text::regclass",
        [`${name}.kojin_results`],
      ),
    ).toEqual([]);
    expect(await backend.get("meanwhile")).toBe(1);
  }, 120_000);
});

describe("migrate() where another session holds its lock", () => {
  const database = specDatabase("held migration lock", { migrated: false });

  it("gives up after a while with a message that names the session, and needs no lock where everything is up to date", async () => {
    const stranger = await database.pool.connect();
    await stranger.query("set application_name = 'stranger'");
    await stranger.query("select pg_advisory_lock(hashtextextended($1, 0))", [
      `kojin-postgres migrate ${database.schema}`,
    ]);
    const backend = await database.open();
    const migrate = backend.migrate({ lockWaitMs: 1_000 });
    await expect(migrate).rejects.toMatchObject({
      name: "DatabaseError",
      sqlState: "55P03",
      message: expect.stringMatching(
        /its migration lock, held by process \d+ \(application "stranger", user ".+", idle, for \d+ s\)/,
      ) as unknown,
    });
    await stranger.query("select pg_advisory_unlock_all()");
    expect((await backend.migrate()).applied).toHaveLength(migrations.length);
    await stranger.query("select pg_advisory_lock(hashtextextended($1, 0))", [
      `kojin-postgres migrate ${database.schema}`,
    ]);
    expect((await backend.migrate({ lockWaitMs: 0 })).applied).toEqual([]);
    stranger.release(true);
  });
});
