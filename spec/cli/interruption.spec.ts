import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { PassThrough } from "node:stream";
import { escapeIdentifier } from "pg";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { cliOf, startCli } from "./support/run-cli";
import { startProgram } from "./support/start-program";

describe("a signal", () => {
  const database = specDatabase("cli interruption");
  const cli = cliOf(database);
  const tables = ["kojin_results", "jobs"].map((table) => `${escapeIdentifier(database.schema)}.${table}`);
  const interrupted = { exitCode: 130, stdout: "", stderr: "Interrupted.\n" };
  const jobs = ["table", "--table", "jobs", "--id", "id", "--succeeded", "is_done"];

  beforeAll(async () => {
    await database.sql(`create table ${tables[1] ?? ""} (id text primary key, is_done boolean)`);
  });

  /** Runs `work` while another session has locked the results and a queue's table. */
  async function whileLocked(work: () => Promise<void>): Promise<void> {
    const stranger = await database.pool.connect();
    try {
      await stranger.query("begin");
      await stranger.query(`lock table ${tables.join(", ")} in access exclusive mode`);
      await work();
    } finally {
      stranger.release(true);
    }
  }
  const waitsForLock = async (): Promise<void> =>
    eventually(async () => expect(await waitsOf()).toContain("relation"), { timeoutMs: 20_000 });
  const waitsOf = async (): Promise<unknown[]> => (await database.connections()).map(({ wait_event }) => wait_event);

  it.each([
    ["get", "t"],
    ["list"],
    ["store", "t", "1"],
    ["delete", "t"],
    ["status"],
    ["doctor"],
    ["prune"],
    ["migrate", "--recount"],
    ["attach", ...jobs, "--into", database.schema],
  ])("ends %s while it waits for a lock, and closes its connections", async (...args) => {
    await whileLocked(async () => {
      const running = cli.start(args);
      await waitsForLock();
      running.interrupt();
      const { exitCode, stdout, stderr } = await running.done;
      expect({ exitCode, stdout, last: stderr.split("\n").slice(-2) }).toEqual({
        exitCode: 130,
        stdout: "",
        last: ["Interrupted.", ""],
      });
      await eventually(async () => expect(await database.ownConnections()).toEqual([]));
    });
  });

  it("leaves a migration that the next call finishes", async () => {
    await whileLocked(async () => {
      const running = cli.start(["migrate", "--recount"]);
      await waitsForLock();
      running.interrupt("SIGTERM");
      expect(await running.done).toMatchObject({ exitCode: 143, stdout: "" });
    });
    expect(await cli.run(["migrate", "--recount"])).toMatchObject({ exitCode: 0 });
  });

  it("ends each command that connects to a server which does not answer", async () => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => sockets.push(socket.resume().on("error", () => undefined)));
    await once(server.listen(0, "127.0.0.1"), "listening");
    const url = `postgres://127.0.0.1:${(server.address() as AddressInfo).port}/app`;
    try {
      for (const args of [["get", "t"], ["wait", "t"], ["watch"], ["dashboard"], ["relay"], ["chunks", "t"]]) {
        const before = sockets.length;
        const running = startCli([...args, "--url", url]);
        await eventually(() => expect(sockets.length).toBeGreaterThan(before));
        running.interrupt();
        expect([args, await running.done]).toEqual([args, interrupted]);
      }
    } finally {
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  });

  it("ends a store that reads its standard input", async () => {
    const stdin = new PassThrough();
    const running = startCli(["store", "t", "-"], { stdin });
    await eventually(() => expect(stdin.listenerCount("readable") + stdin.listenerCount("data")).toBeGreaterThan(0));
    running.interrupt();
    expect(await running.done).toEqual(interrupted);
  });

  it("ends the process, even if its standard input stays open", async () => {
    const { child, exit, stdout, stderr } = startProgram(["store", "t", "-"], {}, "pipe");
    // More than the pipe holds, so that the program has begun to read once all is written.
    await new Promise((resolve) => child.stdin?.write("1".repeat(1_000_000), resolve));
    child.kill("SIGTERM");
    expect(await exit).toEqual([143, null]);
    expect([stdout(), stderr()]).toEqual(["", "Interrupted.\n"]);
  });
});
