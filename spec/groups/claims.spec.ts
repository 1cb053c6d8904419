import { fork } from "node:child_process";
import { join } from "node:path";
import { escapeIdentifier } from "pg";
import { eventually } from "../support/eventually";
import { messageOf } from "../support/processes";
import { specDatabase } from "../support/spec-database";

describe("claims", () => {
  const database = specDatabase("claims");
  const callbacks = `${escapeIdentifier(database.schema)}.callbacks`;

  beforeAll(async () => {
    await database.sql(`create table ${callbacks} (group_id text)`);
  });

  it("happen exactly once together with what the caller's transaction does", async () => {
    const backends = await Promise.all([1, 2, 3, 4].map(async () => database.open()));
    const [first] = backends;
    const groups = Array.from({ length: 25 }, (_, index) => `tx ${index}`);
    await Promise.all(groups.map(async (groupId) => first?.initGroup(groupId, 0)));
    let rollbacks = 0;
    const claimAll = async (backend: (typeof backends)[number]): Promise<void> => {
      for (const groupId of groups) {
        const client = await database.pool.connect();
        await client.query("begin");
        const claim = await backend.claimGroup(groupId, { client });
        if (claim !== undefined) await client.query(`insert into ${callbacks} values ($1)`, [groupId]);
        // Some of those who have the claim die before they commit.
        const dies = claim !== undefined && Math.random() < 0.3;
        if (dies) rollbacks += 1;
        await client.query(dies ? "rollback" : "commit");
        client.release();
      }
    };
    for (let round = 0; round < 5 || rollbacks === 0; round += 1) await Promise.all(backends.map(claimAll));
    const rows = await database.sql<{ group_id: string }>(`select group_id from ${callbacks}`);
    expect(rows.map((row) => row.group_id).sort()).toEqual([...groups].sort());
  });

  it("are not given before the group is done", async () => {
    const backend = await database.open();
    await backend.initGroup("open", 1);
    expect(await backend.claimGroup("open")).toBeUndefined();
    expect(await backend.claimGroup("unknown")).toBeUndefined();
    await backend.completeGroupMember("open", "t", 1);
    expect(await backend.claimGroup("open")).toMatchObject({ groupId: "open" });
  });

  it("come back when their owner dies before it has acknowledged", async () => {
    const backend = await database.open();
    await backend.initGroup("lease", 0);
    const child = fork(join(__dirname, "..", "fixtures", "claims.ts"), ["lease", "500"], {
      execArgv: ["--import", "tsx"],
      env: { ...process.env, DATABASE_URL: database.poolUrl, SPEC_SCHEMA: database.schema },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    expect(await messageOf(child)).toBe("claimed");
    expect(await backend.claimGroup("lease", { leaseMs: 500 })).toBeUndefined();
    child.kill("SIGKILL");
    await eventually(async () =>
      expect(await backend.unclaimedGroups()).toContainEqual(expect.objectContaining({ groupId: "lease" })),
    );
    const claim = await backend.claimGroup("lease", { leaseMs: 60_000 });
    expect(await claim?.ack()).toBe(true);
    expect(await backend.unclaimedGroups()).not.toContainEqual(expect.objectContaining({ groupId: "lease" }));
    expect(await backend.claimGroup("lease")).toBeUndefined();
  });

  it("cannot be acknowledged once another caller has them", async () => {
    const [slow, quick] = [await database.open(), await database.open()];
    await slow.initGroup("late", 0);
    const first = await slow.claimGroup("late", { leaseMs: 1 });
    const second = await eventually(async () => {
      const claim = await quick.claimGroup("late", { leaseMs: 60_000 });
      expect(claim).toBeDefined();
      return claim;
    });
    expect(await first?.ack()).toBe(false);
    expect(await second?.ack()).toBe(true);
  });
});
