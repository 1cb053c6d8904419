import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import type { RelayReport } from "kojin-postgres/nats";
import { eventually } from "../support/eventually";
import { NatsServer } from "../support/nats-server";
import { specDatabase } from "../support/spec-database";
import { describeWithNats } from "../support/where";
import { ask } from "../dashboard/support/requests";
import { cliOf, jsonLines, type RunningCli, startCli } from "./support/run-cli";

interface Line {
  readonly at: string;
  readonly type: "relay" | "http";
  readonly url?: string;
  readonly role?: string;
  readonly ok?: boolean;
  readonly problems?: readonly string[];
}

describeWithNats()("kojin-postgres relay", () => {
  const running: RunningCli[] = [];
  let nats: NatsServer;
  afterEach(async () => {
    for (const each of running.splice(0)) {
      each.interrupt();
      await each.done;
    }
    await eventually(async () => expect(await nats.connections()).toEqual([]));
  });
  const database = specDatabase("cli relay");
  const cli = cliOf(database);
  beforeAll(async () => {
    nats = await NatsServer.start();
  });
  afterAll(async () => nats.stop());

  const start = (...args: string[]): RunningCli => {
    const given = args.includes("--nats") ? args : [...args, "--nats", nats.url];
    const each = cli.start(["relay", "--json", ...given]);
    running.push(each);
    return each;
  };
  const addressOf = async (each: RunningCli): Promise<string> => {
    await each.shows('"type":"http"');
    return jsonLines<Line>(each.stdout()).find(({ type }) => type === "http")?.url ?? "";
  };
  const lastOf = (each: RunningCli): Line | undefined => jsonLines<Line>(each.stdout()).at(-1);
  const healthOf = async (url: string): Promise<RelayReport & { status: number | undefined }> => {
    const { status, text, headers } = await ask(`${url}/healthz`);
    expect(headers["content-type"]).toBe("application/json");
    return { status, ...(JSON.parse(text) as RelayReport) };
  };

  it("relays until it is ended, with 0, and leaves nothing connected", async () => {
    const each = cli.start(["relay", "--nats", nats.url]);
    running.push(each);
    await each.shows(/^[\d:.]{12} {2}standby {2}.*not connected yet\./m);
    await each.shows(/^[\d:.]{12} {2}leader {3}relays from Postgres to NATS$/m);
    expect(await nats.connections()).toHaveLength(1);
    each.interrupt("SIGTERM");
    expect(await each.done).toMatchObject({ exitCode: 0, stderr: "" });
    expect(each.stdout()).toMatch(/ {2}closed {3}The relay is closed\.\n$/);
    await eventually(async () => expect(await nats.connections()).toEqual([]));
    await eventually(async () => expect(await database.ownConnections()).toEqual([]));
  });

  it("reports its status, leading or standing by", async () => {
    const first = start("--port", "0");
    const url = await addressOf(first);
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    await eventually(() => expect(lastOf(first)).toMatchObject({ role: "leader", ok: true, problems: [] }));
    // It has begun to lead by asking all to look again, which may be under way.
    await eventually(async () =>
      expect(await healthOf(url)).toMatchObject({
        status: 200,
        ok: true,
        role: "leader",
        listen: { status: "listening" },
        notifier: { name: "NATS", status: "listening" },
        leadership: { isConnected: true },
        unpublished: 0,
        lagMs: 0,
      }),
    );
    const second = start("--port", "0", "--host", "localhost");
    const other = await addressOf(second);
    await eventually(() => expect(lastOf(second)).toMatchObject({ role: "standby", ok: true }));
    expect(await healthOf(other)).toMatchObject({ status: 200, role: "standby", listen: { status: "idle" } });
    first.interrupt();
    expect((await first.done).exitCode).toBe(0);
    await eventually(async () =>
      expect(await healthOf(other)).toMatchObject({ status: 200, role: "leader", terms: 1 }),
    );
    await expect(fetch(`${url}/healthz`)).rejects.toThrow("fetch failed");
  });

  it("answers nothing else, and changes nothing", async () => {
    const url = await addressOf(start("--port", "0"));
    expect(await ask(`${url}/other`)).toMatchObject({ status: 404 });
    const refused = await ask(`${url}/healthz`, {}, "POST");
    expect(refused).toMatchObject({ status: 405, headers: { allow: "GET, HEAD" } });
    expect(await ask(`${url}/metrics`, {}, "HEAD")).toMatchObject({ status: 200, text: "" });
    expect(await ask(`${url}/healthz?verbose=1`)).toMatchObject({ headers: { "cache-control": "no-store" } });
  });

  it("has metrics for Prometheus", async () => {
    const each = start("--port", "0");
    const url = await addressOf(each);
    await eventually(() => expect(lastOf(each)).toMatchObject({ role: "leader", ok: true }));
    await database.sql(`insert into "${database.schema}".kojin_results (task_id, result) values ('metered', '1')`);
    const metrics = await eventually(async () => {
      const { headers, text } = await ask(`${url}/metrics`);
      expect(headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
      expect(text).toContain('kojin_relay_ids_total{kind="ids"} 1\n');
      return text;
    });
    for (const line of metrics.trimEnd().split("\n"))
      expect(line).toMatch(/^(# (HELP|TYPE) kojin_relay_\w+ .+|kojin_relay_\w+(\{\w+="\w+"\})? (NaN|[\d.e-]+))$/);
    expect(metrics).toMatch(/^# TYPE kojin_relay_notifications_total counter$/m);
    for (const line of [
      "kojin_relay_ok 1",
      "kojin_relay_leader 1",
      "kojin_relay_terms_total 1",
      'kojin_relay_notifications_total{kind="ids"} 1',
      'kojin_relay_rescans_total{cause="takeover"} 1',
      'kojin_relay_reconnects_total{connection="notifier"} 0',
      "kojin_relay_publishes_failed_total 0",
    ])
      expect(metrics).toContain(`${line}\n`);
    expect(metrics).toMatch(/^kojin_relay_heartbeat_seconds\{connection="listen"\} 0\.\d+$/m);
    expect(metrics).toMatch(/^kojin_relay_last_notification_age_seconds \d/m);
  });

  it("says that it cannot reach NATS, retries, and recovers", async () => {
    const absent = await NatsServer.absent();
    const each = start("--port", "0", "--nats", absent.url);
    const url = await addressOf(each);
    await eventually(() => expect(lastOf(each)?.problems?.join()).toContain("Cannot reach NATS: 127.0.0.1:"));
    expect(await healthOf(url)).toMatchObject({ status: 503, ok: false, role: "standby" });
    // Of no use without NATS, it leaves the lead to others.
    expect(await database.listeners()).toEqual([]);
    await absent.start();
    await eventually(async () => expect(await healthOf(url)).toMatchObject({ status: 200, role: "leader" }), {
      timeoutMs: 15_000,
    });
    each.interrupt();
    await each.done;
    await absent.stop();
  });

  it("logs in to NATS, and never shows what with", async () => {
    const permissions = 'permissions: { publish: "kojin.>", subscribe: "kojin.*.rescan" }';
    const guarded = await NatsServer.start(
      `authorization { users: [{ user: relay, password: "pass%word-1", ${permissions} }] }`,
    );
    const address = (password: string): string => guarded.url.replace("://", `://relay:${password}@`);
    const [right, refused, wrong] = [
      start("--nats", address("pass%25word-1"), "--debug"),
      // What the server refuses it names.
      start("--nats", address("pass%25word-1"), "--debug", "--nats-prefix", "pass%word-1"),
      start("--port", "0", "--nats", address("wr%25ng-one"), "--debug"),
    ];
    await eventually(() => expect(lastOf(right)).toMatchObject({ role: "leader", ok: true }));
    await eventually(() => expect(lastOf(wrong)?.problems?.join()).toMatch(/Cannot reach NATS: .*authoriz/i));
    await eventually(() => expect(lastOf(refused)?.problems?.join()).toMatch(/not allow subscribing.*\*{3}\.kojin_/));
    const { text } = await ask(`${await addressOf(wrong)}/healthz`);
    for (const each of [right, refused, wrong]) {
      each.interrupt();
      expect((await each.done).exitCode).toBe(0);
    }
    const printed = [right, refused, wrong].map((each) => each.stdout() + each.stderr()).join() + text;
    for (const secret of ["pass%25word-1", "pass%word-1", "wr%25ng-one", "wr%ng-one"])
      expect(printed).not.toContain(secret);
    await guarded.stop();
  });

  it.each([
    [["--nats", "mysql://"], "expected addresses such as nats://host:4222"],
    [["--nats", "ws://host"], "got an address for WebSockets"],
    [["--nats", "nats://u:hunter22@"], "expected addresses such as nats://host:4222"],
    [["--nats-prefix", "a.*"], "prefix: expected tokens"],
    [["--nats-shards", "0"], "Expected a whole number from 1 to 4096"],
    [["--notifier", "listen"], "cannot use --notifier listen"],
    [["--port", "70000"], "Expected a whole number from 0 to 65535"],
    [["--host", "0.0.0.0"], "--host needs --port"],
    [["--port", "0", "--host", "no such host"], "--host: "],
    [["--nats-creds", "/no/such/file"], "Cannot read the NATS credentials file: ENOENT"],
  ])("ends with 2, and says why, for %j", async (args, words) => {
    const { exitCode, stderr } = await cli.run(["relay", ...args]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(words);
    expect(stderr).not.toContain("hunter22");
  });

  it("ends with 2 without a database, with 6 if it is not reached, with 7 if it has no tables, with 1 if the port is taken", async () => {
    const ends = async (args: string[], env: Record<string, string> = {}): Promise<unknown> => {
      const { exitCode, stderr } = await startCli(["relay", "--nats", nats.url, ...args], { env }).done;
      return [exitCode, stderr];
    };
    expect(await ends([])).toEqual([2, expect.stringContaining("set DATABASE_URL or pass --url")]);
    expect(await ends(["--url", "mysql://x"])).toEqual([2, expect.stringContaining("such as postgres://")]);
    expect(await ends([], { DATABASE_URL: "postgres://x@127.0.0.1:1/x" })).toEqual([
      6,
      expect.stringContaining("ECONNREFUSED"),
    ]);
    expect(await ends(["--url", database.url, "--schema", "empty"])).toEqual([
      7,
      expect.stringContaining('Run: kojin-postgres migrate --schema "empty"'),
    ]);
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const port = String((taken.address() as AddressInfo).port);
    const { exitCode, stderr } = await cli.run(["relay", "--nats", nats.url, "--port", port]);
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining("EADDRINUSE")]);
    taken.close();
  });
});
