import type { Client } from "pg";
import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { faultSuite } from "./support/fault-suite";
import { Streams } from "./support/streams";

const generous = { timeoutMs: 60_000 };

/** The waits of one backend, besides its streams. */
class StreamsAndWaits extends Streams {
  readonly waits: Promise<PromiseSettledResult<unknown>[]>;

  constructor(backend: PostgresResultBackend, prefix: string) {
    super(backend, prefix);
    this.waits = Promise.allSettled([
      backend.wait(`${prefix} task`, 120_000),
      backend.waitGroup(`${prefix} group`, 120_000),
    ]);
  }
}

describe("streams and waits of a role whose policies raise an error for some rows", () => {
  const suite = faultSuite();
  let admin: Client;
  let writer: PostgresResultBackend;

  beforeAll(async () => {
    admin = await suite.connect();
    await admin.query(`
      create table trouble (id text primary key, state text not null);
      create function may_read(wanted text) returns boolean language plpgsql as $$
        declare present text := (select state from trouble where id = wanted);
        begin
          if present = '22P02' then perform 'no number'::int;
          elsif present = '42P01' then perform from missing;
          elsif present is not null then raise 'raised by a policy' using errcode = present; end if;
          return true;
        end $$;
      create role reading login password 'reading';
      grant select on all tables in schema public to reading;
      alter table kojin_results enable row level security;
      create policy reads on kojin_results using (may_read(task_id));
      alter table kojin_groups enable row level security;
      create policy reads on kojin_groups using (may_read(task_id));
      alter table kojin_group_state enable row level security;
      create policy reads on kojin_group_state using (may_read(group_id))`);
    writer = await suite.open();
  });
  afterEach(async () => {
    await admin.query("delete from trouble");
  });

  async function begin(prefix: string): Promise<{ reader: PostgresResultBackend; streams: StreamsAndWaits }> {
    const address = Object.assign(new URL(suite.server.url), { username: "reading", password: "reading" });
    const reader = await suite.open({ retryTimeoutMs: 1_000, sweepIntervalMs: 1_000 }, address.href);
    await writer.initGroup(`${prefix} group`, [`${prefix} a`, `${prefix} b`]);
    const streams = new StreamsAndWaits(reader, prefix);
    await eventually(() => expect(reader.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    await eventually(() => expect(streams.seen["groupChanges"]).toHaveLength(1));
    return { reader, streams };
  }

  const raise = async (state: string, ids: readonly string[]): Promise<void> => {
    await admin.query("insert into trouble select id, $2 from unnest($1::text[]) as id", [ids, state]);
  };

  const write = async (prefix: string): Promise<void> => {
    await writer.store(`${prefix} task`, 1);
    await writer.store(`${prefix} other`, 2);
    await writer.completeGroupMember(`${prefix} group`, `${prefix} a`, 3);
    await writer.completeGroupMember(`${prefix} group`, `${prefix} b`, 4);
  };

  const idsOf = (prefix: string): string[] => [`${prefix} task`, `${prefix} group`];

  it.each([
    ["P0001", "a row", idsOf],
    ["P0001", "a member", (prefix: string) => [`${prefix} a`]],
    ["22P02", "a row", idsOf],
    ["22P02", "a member", (prefix: string) => [`${prefix} a`]],
    ["57014", "a row", idsOf],
    ["57014", "a member", (prefix: string) => [`${prefix} a`]],
    ["23514", "a row", idsOf],
  ])(
    "go on through %s for %s, and see it once it can be read",
    async (state, what, refusedOf) => {
      const prefix = `${state} ${what}`;
      const { reader, streams } = await begin(prefix);
      await raise(state, refusedOf(prefix));
      await write(prefix);
      // Readable results are not delayed.
      await eventually(
        () => expect(streams.seen["results"]).toContainEqual(expect.objectContaining({ taskId: `${prefix} other` })),
        generous,
      );
      const { sweeps } = reader.stats();
      await eventually(() => expect(reader.stats().sweeps).toBeGreaterThan(sweeps + 3), generous);
      expect(streams.errors).toEqual({});
      await admin.query("delete from trouble");
      expect(await streams.waits).toEqual([
        { status: "fulfilled", value: 1 },
        { status: "fulfilled", value: [3, 4] },
      ]);
      const progress = { groupId: `${prefix} group`, total: 2, completed: 2, failed: 0, done: true };
      await eventually(() => {
        expect(streams.seen["result"]).toEqual([1]);
        expect(streams.seen["results"]).toContainEqual(expect.objectContaining({ taskId: `${prefix} task`, value: 1 }));
        expect(streams.seen["group"]?.at(-1)).toEqual(progress);
        expect(streams.seen["groupMembers"]).toMatchObject([{ taskId: `${prefix} a` }, { taskId: `${prefix} b` }]);
        expect(streams.seen["groupResults"]).toEqual([[3, 4]]);
        expect(streams.seen["groupCompletions"]).toContainEqual(progress);
        expect(streams.seen["groupChanges"]).toContainEqual(progress);
      }, generous);
      expect(streams.errors).toEqual({});
      expect(streams.seen["results"]).toHaveLength(2);
      streams.unsubscribe();
      await reader.close();
    },
    180_000,
  );

  it("end by 42P01, each with that error", async () => {
    const { reader, streams } = await begin("ended");
    await raise("42P01", [...idsOf("ended"), "ended a"]);
    await write("ended");
    await eventually(() => expect(Object.keys(streams.errors)).toHaveLength(7), generous);
    const expected = { name: "DatabaseError", sqlState: "42P01", transient: false };
    for (const error of Object.values(streams.errors)) expect(error).toMatchObject(expected);
    for (const outcome of await streams.waits) expect(outcome).toMatchObject({ status: "rejected", reason: expected });
    await reader.close();
  }, 180_000);

  it("are told of by calls, health() and the log", async () => {
    const { reader, streams } = await begin("told");
    await raise("P0001", idsOf("told"));
    await expect(reader.openGroups()).rejects.toMatchObject({ sqlState: "P0001" });
    await expect(reader.getGroup("told group")).rejects.toMatchObject({ sqlState: "P0001" });
    await eventually(async () => {
      expect((await reader.health()).problems.join()).toContain("Reading open groups has failed");
    }, generous);
    expect(suite.messages.join()).toContain("Reading open groups has failed");
    expect(streams.errors).toEqual({});
    await admin.query("delete from trouble");
    await eventually(async () => expect((await reader.health()).problems.join()).not.toContain("Reading"), generous);
    streams.unsubscribe();
    await reader.close();
    await streams.waits;
  }, 180_000);
});
