import { respond, sseResult } from "kojin-postgres/http";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { cliOf } from "./support/run-cli";

// None of these is a double: a 64-bit id, 30 digits, and trailing zeros.
const json = '{"id": 1970670598291982290, "list": [0.1000000000000000055511151231257827, 1.50, -9007199254740993]}';
const compact = json.replaceAll(" ", "");

describe("numbers that a double cannot hold", () => {
  const database = specDatabase("exact numbers");
  const cli = cliOf(database);
  const stored = async (column: string, taskId: string): Promise<string | undefined> => {
    const text = `select ${column}::text as json from "${database.schema}".kojin_results where task_id = $1`;
    return (await database.sql<{ json: string }>(text, [taskId]))[0]?.json;
  };

  it("are stored as they are written, from an argument and from the standard input", async () => {
    await cli.run(["store", "argument", json]);
    await cli.run(["store", "input", "-"], { stdin: `\ufeff${json}\n` });
    expect(await stored("result", "argument")).toBe(json);
    expect(await stored("result", "input")).toBe(json);
  });

  it("are stored as they are written in a failure, and printed so", async () => {
    const failure = `{"name":"E","message":"m","code":1970670598291982290,"details":${compact},"cause":{"name":"E","message":"c","details":1.50}}`;
    await cli.run(["store", "failed", "--failed", failure]);
    expect((await stored("error", "failed"))?.replaceAll(" ", "")).toContain(`"details":${compact}`);
    const { stdout } = await cli.run(["get", "failed", "--json"]);
    expect(stdout).toBe(`{"taskId":"failed","status":"rejected","failure":${failure}}\n`);
    await cli.run(["store", "number", "--failed", "1970670598291982290"]);
    expect((await cli.run(["get", "number"])).stderr).toBe("Task number failed: Error: 1970670598291982290\n");
  });

  it("are printed as they are stored, by get, wait and group", async () => {
    const backend = await database.open();
    await cli.run(["store", "printed", json]);
    for (const command of ["get", "wait"]) {
      const { stdout } = await cli.run([command, "printed"]);
      expect(stdout).toContain('\n  "id": 1970670598291982290,\n');
      expect(stdout.replace(/\s/g, "")).toBe(compact);
      const line = await cli.run([command, "printed", "--json"]);
      expect(line.stdout).toBe(`{"taskId":"printed","status":"fulfilled","value":${compact}}\n`);
    }
    await backend.initGroup("group", 1);
    const text = `insert into "${database.schema}".kojin_groups (group_id, task_id, result, completed) values ('group', 'm', $1, true)`;
    await database.sql(text, [json]);
    expect((await cli.run(["group", "group", "--results", "--json"])).stdout).toContain(`"results":[${compact}]}`);
    expect((await cli.run(["group", "group", "--results"])).stdout).toContain('"id": 1970670598291982290');
  });

  it("are shown as they are stored, by watch", async () => {
    const watching = [["--json"], []].map((options) =>
      cli.start(["watch", "--show-results", "--no-groups", ...options]),
    );
    for (const each of watching) await each.shows("listening");
    await cli.run(["store", "watched", json]);
    await watching[0]?.shows(`"value":${compact}}`);
    await watching[1]?.shows(`watched  ${compact}\n`);
    for (const each of watching) {
      each.interrupt();
      await each.done;
    }
  });

  it("are answered as they are stored, over HTTP", async () => {
    const backend = await database.open();
    await cli.run(["store", "answered", json]);
    await cli.run(["store", "refused", "--failed", `{"message":"m","details":${json}}`]);
    expect(await (await respond(backend, "answered", { waitMs: 0 })).text()).toBe(json);
    expect(await (await respond(backend, "refused", { waitMs: 0, showErrors: true })).text()).toContain(compact);
    const events = await sseResult(backend, "answered").text();
    expect(events).toContain(`event: result\nid: settled\ndata: ${json}\n\n`);
    const waiting = respond(backend, "later", { waitMs: 30_000 });
    await eventually(() => expect(backend.stats().waiting).toBe(1));
    await cli.run(["store", "later", json]);
    expect(await (await waiting).text()).toBe(json);
  });

  it("are answered as the value that a codec gives", async () => {
    const codec = {
      encode: (value: unknown) => ({ wrapped: value }),
      decode: (value: unknown) => (value as { wrapped: unknown }).wrapped,
    };
    const backend = await database.open({ codec });
    await backend.store("encoded", { id: 7 });
    expect(await (await respond(backend, "encoded", { waitMs: 0 })).json()).toEqual({ id: 7 });
  });
});

describe("what jsonb cannot hold", () => {
  const database = specDatabase("refused json");
  const cli = cliOf(database);

  it.each([
    "NaN",
    "Infinity",
    "{a: 1}",
    "{'a': 1}",
    "[1,]",
    "0x10",
    "// note\n1",
    "",
    '"\\u0000"',
    '{"\\u0000": 1}',
    '"\\uD83D"',
    '"\\udc00\\ud83d"',
    "1e200000",
    "[".repeat(20_000) + "]".repeat(20_000),
  ])("is refused: %.20s", async (json) => {
    const { exitCode, stdout, stderr } = await cli.run(["store", "t", "-"], { stdin: json });
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect((await cli.run(["get", "t"])).exitCode).toBe(3);
  });

  it("is not taken for it where it only looks like it", async () => {
    const json = '["\\ud83d\\ude00", "\\\\u0000", "\\\\ud83d"]';
    await cli.run(["store", "t", json]);
    expect(await cli.json(["get", "t"])).toMatchObject({ value: JSON.parse(json) as unknown });
  });
});
