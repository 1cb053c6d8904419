import type { PostgresResultBackend } from "kojin-postgres";
import { nats } from "kojin-postgres/nats";
import { eventually } from "../support/eventually";
import { NatsServer } from "../support/nats-server";
import { specDatabase } from "../support/spec-database";
import { describeWithNats } from "../support/where";

describeWithNats()("users of NATS", () => {
  const database = specDatabase("nats users");
  let server: NatsServer;
  beforeAll(
    async () =>
      (server = await NatsServer.start(`authorization { users: [
        { user: worker, password: secret, permissions: { publish: "kojin.>", subscribe: { deny: ">" } } }
        { user: web, password: secret, permissions: { publish: { deny: ">" }, subscribe: "kojin.>" } }
      ] }`)),
  );
  afterAll(async () => server.stop());

  const messages: string[] = [];
  const note = (message: string): void => void messages.push(message);
  beforeEach(() => messages.splice(0));
  const open = async (user: string, pass = "secret"): Promise<PostgresResultBackend> =>
    database.open({
      notifier: nats({ servers: server.url, user, pass }),
      notify: "off",
      logger: { info: note, warn: note, error: note },
    });

  it("need to publish where they store, and to subscribe where they wait, and nothing else", async () => {
    const [waiting, storing] = [await open("web"), await open("worker")];
    await waiting.ready();
    const result = waiting.wait("allowed", 20_000);
    await storing.store("allowed", 1);
    expect(await result).toBe(1);
    expect(waiting.stats()).toMatchObject({ status: "listening", sweeps: 0 });
    expect([await waiting.health(), await storing.health()]).toMatchObject([{ ok: true }, { ok: true }]);
    expect(messages).toEqual([]);
  });

  it("who may not subscribe find results by reading, and are told so once", async () => {
    const backend = await open("worker");
    const results = Promise.all([backend.wait("deaf 1", 20_000), backend.wait("deaf 2", 20_000)]);
    await backend.ready();
    expect(backend.stats().status).toBe("polling");
    expect((await backend.health()).problems.join()).toContain("does not allow subscribing");
    await backend.store("deaf 1", 1);
    await backend.store("deaf 2", 2);
    expect(await results).toEqual([1, 2]);
    expect(backend.stats().wokenBy.sweep).toBe(2);
    expect(messages).toEqual([expect.stringContaining("Permissions Violation for Subscription")]);
  });

  it("who may not publish store all the same, and are told so once", async () => {
    const backend = await open("web");
    await backend.store("mute 1", 1);
    await eventually(() => expect(backend.stats().announcementsFailed).toBeGreaterThan(0));
    await backend.store("mute 2", 2);
    await eventually(() => expect(backend.stats().announcementsFailed).toBeGreaterThan(1));
    expect(await backend.get("mute 2")).toBe(2);
    expect((await backend.health()).problems.join()).toContain("does not allow publishing");
    expect((await backend.diagnose({ probe: false })).find(({ check }) => check === "listening")?.verdict).toBe(
      "problem",
    );
    expect(messages).toEqual([expect.stringContaining("Permissions Violation for Publish")]);
  });

  it("whom NATS turns away go on by reading", async () => {
    const backend = await open("web", "wrong");
    const result = backend.wait("turned away", 20_000);
    await backend.ready();
    expect(backend.stats().status).toBe("polling");
    const { problems } = await backend.health();
    await backend.store("turned away", 1);
    expect(await result).toBe(1);
    expect(problems.join()).toContain("Authorization");
    expect([...problems, ...messages].join()).not.toContain("wrong");
  });
});
