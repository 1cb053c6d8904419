import { readFileSync } from "node:fs";
import { join } from "node:path";
import { escapeIdentifier } from "pg";
import { startCli } from "../cli/support/run-cli";
import { specDatabase } from "../support/spec-database";
import { inVariant } from "../support/variant";

const page = readFileSync(join(__dirname, "..", "..", "docs", "attach.md"), "utf8");

/** The arguments of the command in the documentation that attaches a table. */
function commandFor(table: string): string[] {
  const block = [...page.matchAll(/^```sh\n(.*?)^```$/gms)]
    .map(([, text = ""]) => text)
    .find((text) => text.includes(table));
  const [, ...args] = [...(block ?? "").replaceAll("\\\n", " ").matchAll(/"([^"]*)"|(\S+)/g)].map(
    ([, quoted, plain]) => quoted ?? plain ?? "",
  );
  return args.slice(1);
}

/** Tables with the columns that the queues publish, as far as the commands use them. */
const queues = [
  {
    table: "river_job",
    prefix: "river:",
    columns: "id bigint, state text, metadata jsonb not null default '{}', errors jsonb[]",
    finished: `(1, 'completed', '{"output": {"pages": 3}}', null), (2, 'discarded', '{}', array['{"error": "first"}', '{"error": "last"}']::jsonb[]), (3, 'retryable', '{}', array['{"error": "first"}']::jsonb[])`,
    outcomes: [{ pages: 3 }, "last"],
  },
  {
    table: "oban_jobs",
    prefix: "oban:",
    columns: "id bigint, state text, errors jsonb[] not null default '{}'",
    finished: `(1, 'completed', '{}'), (2, 'discarded', array['{"error": "first"}', '{"error": "last"}']::jsonb[]), (3, 'retryable', '{}')`,
    outcomes: [null, "last"],
  },
  {
    table: "procrastinate_jobs",
    prefix: "procrastinate:",
    columns: "id bigint, status text",
    finished: `(1, 'succeeded'), (2, 'aborted'), (3, 'todo')`,
    outcomes: [null, "The job was aborted"],
  },
] as const;

describe("the documented command for", () => {
  const database = specDatabase("attach docs");
  const schema = `${database.schema} queue`;
  database.createSchema(schema);

  it.each(queues)("$table fits its published columns", async ({ table, prefix, columns, finished, outcomes }) => {
    const name = `${escapeIdentifier(schema)}.${table}`;
    await database.sql(`create schema if not exists ${escapeIdentifier(schema)}`);
    await database.sql(`create table ${name} (${columns})`);
    const place = ["--schema", schema, "--into", database.schema, "--url", inVariant(database.url).poolUrl];
    expect(await startCli([...commandFor(table), ...place]).done).toMatchObject({ exitCode: 0, stderr: "" });
    await database.sql(`insert into ${name} values ${finished}`);
    const backend = await database.open();
    expect(await backend.get(`${prefix}1`)).toEqual(outcomes[0]);
    expect(await backend.getSettled(`${prefix}2`)).toMatchObject({
      reason: { failure: { name: "Error", message: outcomes[1] } },
    });
    expect(await backend.getSettled(`${prefix}3`)).toBeUndefined();
  });
});
