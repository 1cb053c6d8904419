import type { Diagnosis } from "kojin-postgres";
import { nats } from "kojin-postgres/nats";
import { eventually } from "../support/eventually";
import { NatsServer } from "../support/nats-server";
import { specDatabase } from "../support/spec-database";
import { describeWithNats } from "../support/where";
import { cliOf, jsonLines } from "./support/run-cli";

describeWithNats()("commands where notifications come over NATS", () => {
  let server: NatsServer;
  beforeAll(async () => {
    server = await NatsServer.start();
  });
  afterAll(async () => {
    await eventually(async () => expect(await server.connections()).toEqual([]));
    await server.stop();
  });
  const database = specDatabase("cli over nats");
  const cli = cliOf(database);

  it("wait hears of what is stored long before it would look by itself, and listens to nothing in Postgres", async () => {
    const storing = await database.open({ notifier: nats({ servers: server.url }), listen: true });
    const waiting = cli.start(["wait", "heard", "--timeout", "10m", "--notifier", "nats"], {
      env: { NATS_URL: server.url },
    });
    await eventually(async () => expect((await server.connections()).map(subscriptions)).toContain(2));
    expect(await database.listeners()).toEqual([]);
    const storedAt = performance.now();
    await storing.store("heard", "over NATS");
    expect(await waiting.done).toEqual({ exitCode: 0, stdout: '"over NATS"\n', stderr: "" });
    // The sweep would have found it after 30 s.
    expect(performance.now() - storedAt).toBeLessThan(15_000);
    await storing.close();
  });

  it("store tells over NATS, by the subjects that the others have", async () => {
    const notifier = nats({ servers: server.url, prefix: "other.prefix", shards: 16 });
    const waiting = await database.open({ notifier, listen: true });
    const wait = waiting.wait("told", 60_000);
    // Read once for the wait, and once more when its subscription is confirmed, or both in one.
    await eventually(() => expect(waiting.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    const where = ["--nats", server.url, "--nats-prefix", "other.prefix", "--nats-shards", "16"];
    expect((await cli.run(["store", "told", "1", ...where])).exitCode).toBe(0);
    expect(await wait).toBe(1);
    expect(waiting.stats().wokenBy).toMatchObject({ notification: 1, sweep: 0 });
    await waiting.close();
  });

  it("watch shows what comes, once it has said that it listens", async () => {
    const watching = cli.start(["watch", "--json", "--no-groups", "--nats", server.url]);
    await watching.shows('"status":"listening"');
    await cli.run(["store", "watched", "1", "--nats", server.url]);
    await watching.shows('"watched"');
    watching.interrupt();
    const { exitCode, stdout } = await watching.done;
    expect(exitCode).toBe(0);
    expect(jsonLines<{ type: string; taskId?: string }>(stdout)).toContainEqual(
      expect.objectContaining({ type: "result", taskId: "watched", status: "fulfilled" }),
    );
  });

  it("status and doctor look at NATS, and say when it is not reached", async () => {
    const status = await cli.run(["status", "--nats", server.url]);
    expect(status).toMatchObject({ exitCode: 0, stderr: "" });
    expect(status.stdout).toMatch(/^Listening +yes, over NATS$/m);
    const { checks } = await cli.json<{ checks: Diagnosis[] }>(["doctor", "--nats", server.url]);
    expect(checks.find(({ check }) => check === "listening")).toMatchObject({
      verdict: "ok",
      finding: expect.stringContaining("NATS") as string,
    });
    const absent = await NatsServer.absent();
    const { exitCode, stdout } = await cli.run(["doctor", "--nats", absent.url]);
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/^PROBLEM +listening .*do not arrive over NATS/m);
  });

  it("listen in Postgres where that is asked for, whatever else is given", async () => {
    const watching = cli.start(["watch", "--notifier", "listen", "--nats", server.url]);
    await eventually(async () => expect(await database.listeners()).toHaveLength(1));
    watching.interrupt();
    await watching.done;
    expect(await server.connections()).toEqual([]);
  });

  it("say what is wrong with what was given, and never a password", async () => {
    for (const [args, words] of [
      [["--notifier", "redis"], "Allowed choices are listen, nats"],
      [["--nats", "nats://u:hunter22@"], "expected addresses such as nats://host:4222"],
      [["--nats", server.url, "--nats-prefix", "a.*"], "prefix: expected tokens"],
      [["--nats", server.url, "--nats-creds", "/no/such/file"], "Cannot read the NATS credentials file"],
    ] as const) {
      const { exitCode, stderr } = await cli.run(["get", "x", ...args]);
      expect([exitCode, stderr]).toEqual([2, expect.stringContaining(words)]);
      expect(stderr).not.toContain("hunter22");
    }
  });
});

const subscriptions = ({ subscriptions_list }: { subscriptions_list: readonly string[] }): number =>
  subscriptions_list.length;
