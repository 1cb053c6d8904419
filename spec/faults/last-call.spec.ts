import { setTimeout as sleep } from "node:timers/promises";
import { eventually } from "../support/eventually";
import { faultSuite } from "./support/fault-suite";

describe("calls for one row that is locked", () => {
  const suite = faultSuite();

  // The first statement waits for the lock, or, after a second, a later attempt does; the second call is older than what may be replaced without a check by then.
  it.each([900, 2_500])("are written in their order after %i ms", async (lockedMs) => {
    const backend = await suite.open();
    const admin = await suite.connect();
    const id = `locked for ${lockedMs}`;
    await admin.query("begin");
    await backend.store(id, "in a transaction", { client: admin });
    const first = backend.store(id, "first");
    await eventually(() => expect(backend.stats().stores.inFlight).toBe(1));
    const second = backend.store(id, "second");
    await sleep(lockedMs);
    await admin.query("commit");
    await Promise.all([first, second]);
    expect(await backend.get(id)).toBe("second");
  });

  it("are written in their order also for a member of a group", async () => {
    const backend = await suite.open();
    const admin = await suite.connect();
    await backend.initGroup("locked group", ["member", "other"]);
    await admin.query("begin");
    await backend.completeGroupMember("locked group", "other", 1, { client: admin });
    const first = backend.completeGroupMember("locked group", "member", "first");
    await eventually(() => expect(backend.stats().groupWrites.inFlight).toBe(1));
    const second = backend.completeGroupMember("locked group", "member", "second");
    await sleep(800);
    await admin.query("commit");
    await Promise.all([first, second]);
    expect(await backend.getGroupResults("locked group")).toEqual(["second", 1]);
  });
});
