import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { cliOf, startCli } from "./support/run-cli";

describe("store, get, wait and group", () => {
  const database = specDatabase("cli results");
  const cli = cliOf(database);

  it("store and print a result", async () => {
    const stored = await cli.run(["store", "a", '{"text":"ä\\n","list":[1,null]}']);
    expect(stored).toEqual({ exitCode: 0, stdout: "", stderr: "Stored the result of task a.\n" });
    const { exitCode, stdout } = await cli.run(["get", "a"]);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ text: "ä\n", list: [1, null] });
    const line = await cli.run(["get", "a", "--json"]);
    // On one line; jsonb has put the keys into an order of its own.
    expect(line.stdout).toBe('{"taskId":"a","status":"fulfilled","value":{"list":[1,null],"text":"ä\\n"}}\n');
  });

  it("read the result from the standard input, and keep a first one if asked to", async () => {
    await cli.run(["store", "piped", "-"], { stdin: '["from", "a pipe"]' });
    await cli.run(["store", "piped", "2", "--keep"]);
    expect(await cli.json(["get", "piped"])).toMatchObject({ value: ["from", "a pipe"] });
    await cli.run(["store", "piped", "2"]);
    expect(await cli.json(["get", "piped"])).toMatchObject({ value: 2 });
  });

  it("keep a result as long as they are told", async () => {
    await cli.run(["store", "short", "1", "--ttl", "1ms"]);
    await eventually(async () => expect((await cli.run(["get", "short"])).exitCode).toBe(3));
    await cli.run(["store", "long", "1", "--ttl", "never"]);
    const [row] = await database.sql<{ expires_at: unknown }>(
      `select expires_at from "${database.schema}".kojin_results where task_id = 'long'`,
    );
    expect(row).toEqual({ expires_at: null });
  });

  it("end with 3 where there is nothing", async () => {
    const missing = await cli.run(["get", "nothing"]);
    expect(missing).toMatchObject({ exitCode: 3, stdout: "" });
    expect(missing.stderr).toContain("Task nothing has no result");
    expect(await cli.json(["get", "nothing"])).toEqual({ taskId: "nothing", status: "missing" });
    expect(await cli.run(["group", "nothing"])).toMatchObject({ exitCode: 3, stdout: "" });
    expect(await cli.json(["group", "nothing"])).toEqual({ groupId: "nothing", status: "missing" });
  });

  it("end with 5 where the task failed, and tell of its error", async () => {
    const failure = { name: "MailError", message: "no such address", code: 550 };
    await cli.run(["store", "failing", "--failed", JSON.stringify(failure)]);
    for (const command of ["get", "wait"]) {
      const { exitCode, stdout, stderr } = await cli.run([command, "failing"]);
      expect({ exitCode, stdout }).toEqual({ exitCode: 5, stdout: "" });
      expect(stderr).toBe("Task failing failed: MailError: no such address\n  code: 550\n");
      expect(await cli.json([command, "failing"])).toEqual({ taskId: "failing", status: "rejected", failure });
    }
  });

  it("wait for what is stored later", async () => {
    const waiting = cli.start(["wait", "later", "--timeout", "20s"]);
    const backend = await database.open();
    // Until the command has its listener it would find the result by its first read.
    await eventually(async () => expect(await database.listeners()).toHaveLength(1), { timeoutMs: 15_000 });
    await backend.store("later", { done: true });
    expect(await waiting.done).toEqual({ exitCode: 0, stdout: '{\n  "done": true\n}\n', stderr: "" });
  });

  it("end with 4 when the time is up", async () => {
    const late = await cli.run(["wait", "never stored", "--timeout", "50ms"]);
    expect(late).toMatchObject({ exitCode: 4, stdout: "" });
    expect(late.stderr).toContain("No result for task never stored within 50 ms.");
    expect(await cli.run(["wait", "never stored", "--timeout", "0", "--json"])).toMatchObject({
      exitCode: 4,
      stdout: '{"taskId":"never stored","status":"timeout","timeoutMs":0}\n',
      stderr: "",
    });
  });

  it.each(["SIGINT", "SIGTERM"] as const)("end a wait in order at %s", async (signal) => {
    const waiting = cli.start(["wait", "never", "--timeout", "never"]);
    await eventually(async () => expect(await database.listeners()).toHaveLength(1), { timeoutMs: 15_000 });
    waiting.interrupt(signal);
    expect(await waiting.done).toEqual({
      exitCode: signal === "SIGINT" ? 130 : 143,
      stdout: "",
      stderr: "Interrupted.\n",
    });
  });

  it("say nothing when the reader of their output has ended", async () => {
    const waiting = cli.start(["wait", "never", "--timeout", "never"]);
    await eventually(async () => expect(await database.listeners()).toHaveLength(1));
    waiting.interrupt("SIGPIPE");
    expect(await waiting.done).toEqual({ exitCode: 141, stdout: "", stderr: "" });
  });

  it("tell a task that is expected from an unknown one", async () => {
    const unknown = await cli.run(["wait", "expected", "--must-exist"]);
    expect(unknown).toEqual({
      exitCode: 3,
      stdout: "",
      stderr: "Task expected is unknown: it has no result, and is not expected.\n",
    });
    expect(await cli.json(["wait", "expected", "--must-exist"])).toEqual({ taskId: "expected", status: "unknown" });
    const expected = await cli.run(["expect", "expected", "--ttl", "1h"]);
    expect(expected).toEqual({ exitCode: 0, stdout: "", stderr: "Task expected is expected.\n" });
    expect(await cli.json(["expect", "expected"])).toEqual({ taskId: "expected", status: "expected" });
    expect(await cli.run(["wait", "expected", "--must-exist", "--timeout", "0"])).toMatchObject({ exitCode: 4 });
    await cli.run(["store", "expected", "7"]);
    expect(await cli.run(["wait", "expected", "--must-exist"])).toMatchObject({ exitCode: 0, stdout: "7\n" });
  });

  it("show how far a group is, and its results", async () => {
    const backend = await database.open();
    await backend.initGroup("book", ["p1", "p2", "p3"]);
    await backend.completeGroupMember("book", "p2", "two");
    expect(await cli.run(["group", "book"])).toEqual({ exitCode: 0, stdout: "book: 1 of 3 completed\n", stderr: "" });
    await backend.completeGroupMember("book", "p1", "one");
    await backend.failGroupMember("book", "p3", new Error("torn"));
    const { exitCode, stdout } = await cli.run(["group", "book", "--results"]);
    expect(exitCode).toBe(5);
    expect(stdout).toMatch(/^book: done, 2 of 3 completed, 1 failed\n  p3  Error: torn\n/);
    expect(await cli.json(["group", "book", "--results"])).toEqual({
      groupId: "book",
      total: 3,
      completed: 2,
      failed: 1,
      done: true,
      failures: [{ taskId: "p3", failure: { name: "Error", message: "torn" } }],
      results: ["one", "two"],
    });
  });

  it("name the first failed members of a group, and count the others", async () => {
    const backend = await database.open();
    await backend.initGroup("torn", 12);
    for (let page = 0; page < 12; page += 1) await backend.failGroupMember("torn", `page ${page}`, new Error("torn"));
    const { exitCode, stdout } = await cli.run(["group", "torn"]);
    expect(exitCode).toBe(5);
    expect(stdout.split("\n")).toHaveLength(13);
    expect(stdout).toMatch(
      /^torn: done, 0 of 12 completed, 12 failed\n {2}page 0 {2}Error: torn\n[^]* {2}and 2 more\n$/,
    );
  });

  it("tell of details and causes of a failure, in red on a terminal", async () => {
    const failure = {
      name: "A",
      message: "a",
      details: { id: 1 },
      cause: { name: "B", message: "b", cause: { name: "C", message: "c" } },
    };
    await cli.run(["store", "described", "--failed", JSON.stringify(failure)]);
    const lines = ["Task described failed: A: a", '  details: {"id":1}', "  caused by B: b", "  caused by C: c", ""];
    expect((await cli.run(["get", "described"])).stderr.split("\n")).toEqual(lines);
    const onTerminal = await cli.run(["get", "described"], { isTerminal: true });
    expect(onTerminal.stderr.split("\n")).toEqual([`\u001b[31m${lines[0]}\u001b[39m`, ...lines.slice(1)]);
  });

  it.each([
    [["--no-color"], {}],
    [[], { NO_COLOR: "1" }],
    [[], { TERM: "dumb" }],
  ])("print no colours with %j and %j", async (args, env) => {
    const { stderr } = await cli.run(["store", "colours", "{", ...args], { isTerminal: true, env });
    expect(stderr).toMatch(/^kojin-postgres: The result is not JSON/);
  });

  it("say on a terminal that they wait", async () => {
    const waiting = cli.start(["wait", "awaited", "--timeout", "1m"], { isTerminal: true });
    await eventually(() => expect(waiting.stderr()).toContain("Waiting for task awaited, for up to 1 minute."));
    waiting.interrupt();
    expect(await waiting.done).toMatchObject({ exitCode: 130, stdout: "" });
  });

  it("delete a result", async () => {
    await cli.run(["store", "deleted", "1"]);
    const deleted = { exitCode: 0, stdout: "", stderr: "Deleted the result of task deleted.\n" };
    expect(await cli.run(["delete", "deleted"])).toEqual(deleted);
    expect(await cli.run(["delete", "deleted"])).toMatchObject({ exitCode: 3, stdout: "" });
    expect(await cli.json(["delete", "deleted"])).toEqual({ taskId: "deleted", status: "missing" });
    expect(await cli.run(["get", "deleted"])).toMatchObject({ exitCode: 3 });
  });

  it("print the chunks of a task, until it has a result", async () => {
    const backend = await database.open();
    await backend.emit("answer", "one");
    const following = cli.start(["chunks", "answer"]);
    await following.shows('"one"\n');
    await backend.emit("answer", { two: 2 }, { restart: true });
    await following.shows('{"two":2}\n');
    await backend.store("answer", "done");
    expect(await following.done).toEqual({
      exitCode: 0,
      stdout: '"one"\n{"two":2}\n',
      stderr: "Task answer has been started again. This is attempt 2.\n",
    });
    expect(await cli.json(["chunks", "answer"])).toEqual({
      taskId: "answer",
      kind: "chunk",
      attempt: 2,
      sequence: 1,
      value: { two: 2 },
    });
    expect(await cli.run(["chunks", "answer", "--after", "1"])).toMatchObject({ exitCode: 0, stdout: '{"two":2}\n' });
    expect(await cli.run(["chunks", "answer", "--after", "2-1"])).toMatchObject({ exitCode: 0, stdout: "" });
    expect(await cli.run(["chunks", "answer", "--after", "2-"])).toMatchObject({ exitCode: 2 });
    await backend.fail("failing answer", new Error("lost"));
    expect(await cli.run(["chunks", "failing answer"])).toMatchObject({ exitCode: 5, stdout: "" });
    expect(await cli.run(["chunks", "unknown", "--for", "50ms"])).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  });

  it("follow no chunks once they are interrupted", async () => {
    const following = cli.start(["chunks", "never emitted"]);
    following.interrupt();
    expect(await following.done).toMatchObject({ exitCode: 130, stdout: "" });
  });

  it("delete a group", async () => {
    const backend = await database.open();
    for (const groupId of ["delete", "help", "again"]) await backend.initGroup(groupId, 1);
    expect(await cli.run(["group", "delete", "delete"])).toEqual({
      exitCode: 0,
      stdout: "",
      stderr: "Deleted the group delete with its members.\n",
    });
    expect(await backend.getGroup("delete")).toBeUndefined();
    expect(await cli.json(["group", "delete", "again"])).toEqual({ groupId: "again", status: "deleted" });
    expect(await cli.run(["group", "delete", "again"])).toEqual({
      exitCode: 3,
      stdout: "",
      stderr: "There is no group again, or it has expired.\n",
    });
    expect(await cli.json(["group", "delete", "again"])).toEqual({ groupId: "again", status: "missing" });
    expect((await cli.run(["group", "help"])).stdout).toBe("help: 0 of 1 completed\n");
    expect(await cli.run(["group", "delete"])).toMatchObject({ exitCode: 2 });
  });

  it("say what to run where nothing was migrated, and end with 7", async () => {
    const elsewhere = startCli(["get", "t", "--url", database.url, "--schema", "spec never migrated"]);
    const { exitCode, stderr } = await elsewhere.done;
    expect(exitCode).toBe(7);
    expect(stderr).toContain('Run: kojin-postgres migrate --schema "spec never migrated"');
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });
});
