import { PassThrough } from "node:stream";
import { BarView, type WatchEvent } from "../../lib/cli/commands/watch-views";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { Session } from "../../lib/cli/session";
import { cliOf, jsonLines } from "./support/run-cli";

describe("watch", () => {
  const database = specDatabase("cli watch");
  const cli = cliOf(database);

  it("prints a line for each result and each change of a group, and ends with 0 at Ctrl-C", async () => {
    const backend = await database.open();
    await backend.initGroup("open before", 2);
    const watching = cli.start(["watch"]);
    await watching.shows(/listener +listening/);
    await watching.shows(/group +open before {2}0 of 2 completed/);
    await backend.store("good", { secret: "value" });
    await backend.fail("bad", new Error("two\nlines \u001b[2J"));
    await watching.shows(/ok +good\n/);
    await watching.shows(/failed +bad {2}Error: two\\u000alines \\u001b\[2J\n/);
    await backend.completeGroupMember("open before", "a", 1);
    await backend.failGroupMember("open before", "b", new Error("x"));
    await watching.shows(/group +open before {2}done, 1 of 2 completed, 1 failed/);
    watching.interrupt();
    const { exitCode, stdout, stderr } = await watching.done;
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toMatch(/rates +[\d.]+ results\/s, 2 results, 1 of them failures, 0 groups open, 1 done\n$/);
    expect(stdout).not.toContain("secret");
  });

  it("prints one object a line, with values if asked for them, and only of ids that begin as told", async () => {
    const backend = await database.open();
    const watching = cli.start(["watch", "--json", "--show-results", "--prefix", "up:", "--every", "100ms"]);
    await watching.shows('"listening"');
    await backend.store("other", 0);
    await backend.initGroup("other", 1);
    await backend.store("up:1", { bytes: 3 });
    // Of two reads that are under way at once either may end first.
    await watching.shows('"up:1"');
    await backend.fail("up:2", new RangeError("too large"));
    await backend.initGroup("up:all", 0);
    await watching.shows('"up:2"');
    await watching.shows('"up:all"');
    await watching.shows('"groupsDone":1');
    watching.interrupt("SIGTERM");
    const { exitCode, stdout } = await watching.done;
    expect(exitCode).toBe(0);
    const events = jsonLines<WatchEvent>(stdout);
    for (const { at } of events) expect(new Date(at).toISOString()).toBe(at);
    expect(events.filter(({ type }) => type === "result")).toMatchObject([
      { taskId: "up:1", status: "fulfilled", value: { bytes: 3 } },
      { taskId: "up:2", status: "rejected", failure: { name: "RangeError", message: "too large" } },
    ]);
    expect(events.filter(({ type }) => type === "group")).toMatchObject([
      { groupId: "up:all", total: 0, completed: 0, failed: 0, done: true },
    ]);
    expect(events.at(-1)).toMatchObject({ type: "rates", results: 2, failures: 1, groupsDone: 1, openGroups: 0 });
  });

  it("ends by itself after the time it is given", async () => {
    const { exitCode, stdout } = await cli.run(["watch", "--for", "300ms", "--no-groups", "--json"]);
    expect(exitCode).toBe(0);
    expect(jsonLines<WatchEvent>(stdout).at(-1)?.type).toBe("rates");
  });

  it("accepts times beyond the longest timer of Node", async () => {
    const backend = await database.open();
    const watching = cli.start(["watch", "--json", "--no-groups", "--for", "30d", "--every", "never"]);
    await watching.shows('"listening"');
    await backend.store("watched for long", 1);
    await watching.shows('"watched for long"');
    watching.interrupt();
    const { stdout } = await watching.done;
    expect(jsonLines<WatchEvent>(stdout).filter(({ type }) => type === "rates")).toHaveLength(1);
  });

  it("draws bars on a terminal, and gives the cursor back", async () => {
    const backend = await database.open();
    await backend.initGroup("drawn", 4);
    await backend.completeGroupMember("drawn", "a", 1);
    const watching = cli.start(["watch", "--every", "100ms"], { isTerminal: true });
    await watching.shows(/drawn +[^\n]*1 of 4/);
    await watching.shows("listening;");
    await backend.completeGroupMember("drawn", "b", 1);
    await watching.shows(/drawn +[^\n]*2 of 4/);
    await backend.store("logged", 1);
    // It clears what is left of the bar in whose place it stands.
    await watching.shows(/ok +logged\u001b\[K\n/);
    watching.interrupt();
    const { exitCode, stdout } = await watching.done;
    expect(exitCode).toBe(0);
    expect(stdout.lastIndexOf("\u001b[?25h")).toBeGreaterThan(stdout.lastIndexOf("\u001b[?25l"));
  });
});

describe("the bars of watch", () => {
  const sessionOn = (out: PassThrough): Session => {
    const interrupted = new AbortController().signal;
    return new Session({ in: new PassThrough(), out, err: new PassThrough(), env: {}, interrupted }, {});
  };
  const at = "2030-01-01T00:00:00.000Z";
  const progress = (groupId: string, completed: number, done = false): WatchEvent => ({
    at,
    type: "group",
    groupId,
    total: 3,
    completed,
    failed: 0,
    done,
  });

  it("keep their numbers on a narrow terminal", () => {
    const out = Object.assign(new PassThrough(), { isTTY: true, columns: 56, rows: 10 });
    const view = new BarView(sessionOn(out));
    view.show(progress("a group with a long name that is cut", 2));
    view.close();
    const [, line = ""] = /(a group with a long name[^\n]*)/.exec(String(out.read())) ?? [];
    expect(line.slice(0, 56)).toContain("2 of 3");
  });

  it("are as many as there is room for; when a group is done, one that waited gets its place", () => {
    const out = Object.assign(new PassThrough(), { isTTY: true, columns: 100, rows: 10 });
    const drawn = (): string => String(out.read() ?? "");
    const view = new BarView(sessionOn(out));
    for (const groupId of ["first", "second", "third"]) view.show(progress(groupId, 1));
    view.show(progress("first", 3, true));
    const text = drawn();
    expect(text).toContain("first");
    expect(text).toContain("second");
    view.close();
    expect(text).toContain("first  done, 3 of 3 completed");
    expect(drawn()).toContain("third");
  });

  it("are drawn again below lines that were printed, also those that have not changed", async () => {
    const out = Object.assign(new PassThrough(), { isTTY: true, columns: 100, rows: 10 });
    let text = "";
    out.on("data", (chunk: Buffer) => (text += chunk.toString()));
    const view = new BarView(sessionOn(out));
    view.show(progress("unchanged", 1));
    await eventually(() => expect(text).toContain("unchanged"));
    view.show({ at, type: "result", taskId: "printed", status: "fulfilled" });
    await eventually(() => expect(text).toContain("printed"));
    view.close();
    await eventually(() => expect(text).toContain("\u001b[?25h"));
    expect(text.lastIndexOf("connecting")).toBeGreaterThan(text.indexOf("printed"));
    expect(text.lastIndexOf("unchanged")).toBeGreaterThan(text.indexOf("printed"));
  });
});
