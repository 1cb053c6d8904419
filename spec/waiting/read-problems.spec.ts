import { escapeIdentifier } from "pg";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";

describe("a table that cannot be read for a while", () => {
  const database = specDatabase("read problems");
  const states = `${escapeIdentifier(database.schema)}.kojin_group_state`;

  it("is told by health() and once in the log, until the streams and waits that go on have read it", async () => {
    const warnings: string[] = [];
    const logger = { info: () => undefined, warn: (message: string) => warnings.push(message), error: () => undefined };
    const backend = await database.open({ retryTimeoutMs: 100, sweepIntervalMs: 100, logger });
    const [seen, errors]: [string[], unknown[]] = [[], []];
    const error = (reason: unknown): unknown => errors.push(reason);
    const subscriptions = [
      backend.groupChanges$().subscribe({ error }),
      backend.groupCompletions$().subscribe({ next: ({ groupId }) => seen.push(groupId), error }),
    ];
    await backend.ready();
    await eventually(async () => expect((await backend.health()).problems).toEqual([]), { timeoutMs: 30_000 });
    const locker = await database.pool.connect();
    // On a busy machine reads may have failed before, in so short a time. They may also fail while the lock is awaited.
    warnings.length = 0;
    await locker.query(`begin; lock table ${states}`);
    const waiting = backend.waitGroup("group", 60_000);
    const kinds = ["groups", "open groups", "completed groups"].map((what) => `Reading ${what} has failed`);
    await eventually(
      async () => {
        const { problems } = await backend.health();
        for (const kind of kinds) expect(problems.join()).toContain(kind);
      },
      { timeoutMs: 30_000 },
    );
    for (const kind of kinds) expect(warnings.filter((each) => each.startsWith(kind))).toHaveLength(1);
    await locker.query("rollback");
    locker.release();
    await eventually(async () => expect((await backend.health()).problems).toEqual([]), { timeoutMs: 30_000 });
    const writer = await database.open();
    await writer.initGroup("group", 0);
    expect(await waiting).toEqual([]);
    await eventually(() => expect(seen).toEqual(["group"]), { timeoutMs: 30_000 });
    expect(errors).toEqual([]);
    for (const subscription of subscriptions) subscription.unsubscribe();
  }, 120_000);
});
