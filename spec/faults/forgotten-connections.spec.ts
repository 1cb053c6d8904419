import { TcpProxy } from "../support/tcp-proxy";
import { faultSuite } from "./support/fault-suite";

describe("connections that a router on the way has forgotten", () => {
  const suite = faultSuite();
  let proxy: TcpProxy;

  beforeAll(async () => {
    proxy = await TcpProxy.start(suite.server.url);
  });
  afterAll(async () => proxy.stop());

  it("cost each call no more than half of its time: the other half is for a new connection", async () => {
    // Not 'deferred': a connection whose notification is unanswered makes the next call open a second one.
    const options = { listen: false, notify: "trigger", retryTimeoutMs: 2_000 } as const;
    const backend = await suite.open(options, proxy.route(suite.server.url));
    await backend.initGroup("there", 1);
    await backend.completeGroupMember("there", "member", 1);
    await backend.store("there", 1);
    const calls: (() => Promise<unknown>)[] = [
      () => backend.store("new", 1),
      () => backend.get("there"),
      () => backend.initGroup("new", 1),
      () => backend.completeGroupMember("new", "member", 1),
      () => backend.getGroupResults("there"),
      () => backend.claimGroup("there"),
      () => backend.unclaimedGroups(),
      () => backend.delete("there"),
    ];
    for (const call of calls) {
      // The one idle connection in the pool, which the next call gets.
      proxy.strand();
      await call();
    }
  });
});
