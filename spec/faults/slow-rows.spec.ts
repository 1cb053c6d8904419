import type { Client } from "pg";
import type { PostgresResultBackend, PostgresResultBackendOptions } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { TcpProxy } from "../support/tcp-proxy";
import { faultSuite } from "./support/fault-suite";

const names = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix} ${index}`);

describe("rows that a policy of the application makes slow, or refuses", () => {
  const suite = faultSuite();
  let admin: Client;
  let writer: PostgresResultBackend;

  /** As a role to which the policies apply. */
  const openReader = async (
    options: PostgresResultBackendOptions = {},
    url = suite.server.url,
  ): Promise<PostgresResultBackend> =>
    suite.open(options, Object.assign(new URL(url), { username: "reading", password: "reading" }).href);

  const setTrouble = async (what: string, ids: readonly string[]): Promise<void> => {
    await admin.query("insert into trouble select id, $2 from unnest($1::text[]) as id", [ids, what]);
  };

  beforeAll(async () => {
    admin = await suite.connect();
    await admin.query(`
      create table trouble (id text primary key, what text not null);
      create function may_read(wanted text) returns boolean language plpgsql as $$
        declare present text := (select what from trouble where id = wanted);
        begin
          if present = 'sleep' then perform pg_sleep(120);
          elsif present = '22P02' then perform present::int;
          elsif present is not null then raise 'refused by the application' using errcode = present; end if;
          return true;
        end $$;
      create role reading login password 'reading';
      grant select on all tables in schema public to reading;
      alter table kojin_results enable row level security;
      create policy reads on kojin_results using (may_read(task_id));
      alter table kojin_group_state enable row level security;
      create policy reads on kojin_group_state using (may_read(group_id))`);
    writer = await suite.open();
  });
  afterEach(async () => {
    await admin.query("delete from trouble");
    // A statement sent before its row was repaired goes on sleeping.
    await admin.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'reading' and application_name not like '%listener'",
    );
  });

  it("keep no other wait from its result for long, and theirs come once the rows can be read", async () => {
    const reader = await openReader();
    await reader.ready();
    const ids = names("among slow", 200);
    const slow = ids.filter((_, index) => index % 40 === 7);
    await setTrouble("sleep", slow);
    const settled = new Map<string, number>();
    const startedAt = performance.now();
    const waits = ids.map(async (id) =>
      reader.wait(id, 300_000).finally(() => settled.set(id, performance.now() - startedAt)),
    );
    await eventually(() => expect(reader.stats().reads.inFlight).toBe(0));
    const { statements } = reader.stats().reads;
    await Promise.all(ids.map(async (id) => writer.store(id, id)));
    await eventually(() => expect(settled.size).toBe(195), { timeoutMs: 60_000 });
    for (const id of slow) expect(settled.has(id)).toBe(false);
    expect(Math.max(...settled.values())).toBeLessThan(25_000);
    // Seven parts, and the rows of five parts one by one, some of them again.
    expect(reader.stats().reads.statements - statements).toBeLessThan(400);
    // Other rows are not delayed, now that the slow ones are known.
    const startedAgainAt = performance.now();
    const later = names("later", 50).map(async (id) => reader.wait(id, 60_000));
    await Promise.all(names("later", 50).map(async (id) => writer.store(id, id)));
    await Promise.all(later);
    expect(performance.now() - startedAgainAt).toBeLessThan(5_000);
    await admin.query("delete from trouble");
    expect(await Promise.all(waits)).toEqual(ids);
    await reader.close();
  }, 120_000);

  it("leave at most a few statements on the server, each for a few seconds", async () => {
    const reader = await openReader({ retryTimeoutMs: 4_000 });
    await reader.ready();
    const ids = names("left behind", 40);
    await setTrouble("sleep", ids);
    await Promise.all(ids.map(async (id) => writer.store(id, id)));
    const waits = Promise.allSettled(ids.map(async (id) => reader.wait(id, 20_000)));
    let most = 0;
    const state = { isOver: false };
    void waits.then(() => (state.isOver = true));
    // Twenty looks a second, so that looking takes no time from the reads.
    while (!state.isOver) {
      const { rows } = await admin.query(
        "select from pg_sleep(0.05), pg_stat_activity where usename = 'reading' and wait_event = 'PgSleep'",
      );
      most = Math.max(most, rows.length);
    }
    const outcomes = await waits;
    expect(outcomes.every(({ status }) => status === "rejected")).toBe(true);
    expect(most).toBeLessThan(10);
    // Within 20 seconds. Reading each key alone would take 40 reads per round.
    expect(reader.stats().reads.statements).toBeLessThan(120);
    await reader.close();
  }, 120_000);

  it("that are refused by the hundred over a slow link reject their own reads only, and quickly", async () => {
    const proxy = await TcpProxy.start(suite.server.url);
    const reader = await openReader({ listen: false, retryTimeoutMs: 30_000 }, proxy.route(suite.server.url));
    const ids = names("far", 400);
    const isBad = (index: number): boolean => (index * 7) % 10 < 3;
    await setTrouble(
      "P0001",
      ids.filter((_, index) => isBad(index)),
    );
    await Promise.all(ids.map(async (id) => writer.store(id, id)));
    await reader.get("warm");
    proxy.delayMs = 50;
    const outcomes = await Promise.allSettled(ids.map(async (id) => reader.get(id)));
    proxy.delayMs = 0;
    for (const [index, outcome] of outcomes.entries())
      expect(outcome).toMatchObject(
        isBad(index)
          ? { status: "rejected", reason: { sqlState: "P0001" } }
          : { status: "fulfilled", value: ids[index] },
      );
    await reader.close();
    await proxy.stop();
  }, 60_000);

  it.each([
    ["in arrays", "jsonb_agg('1e130000'::numeric)"],
    ["in objects", "jsonb_object_agg('key ' || n, jsonb_build_object('number', '-1e130000'::numeric))"],
    ["of many digits after the point", "jsonb_agg('1e-16000'::numeric) || jsonb_agg('1e130000'::numeric)"],
  ])(
    "and small ones that are huge as text, by numbers %s, reject their own waits only",
    async (what, value) => {
      // NATS does not announce rows inserted by plain SQL.
      const reader = await suite.open({ sweepIntervalMs: 5_000 });
      await reader.ready();
      const [ids, huge] = [names(`beside ${what}`, 1_000), names(`huge ${what}`, 20)];
      const waits = [...ids, ...huge].map(async (id) => reader.wait(id, 240_000));
      const outcomes = Promise.allSettled(waits);
      await eventually(() => expect(reader.stats().reads.inFlight).toBe(0));
      const startedAt = performance.now();
      // All at once, as an application does that stores by SQL.
      await admin.query(
        `insert into kojin_results (task_id, result)
           select id, '1' from unnest($1::text[]) as id
           union all select id, (select ${value} from generate_series(1, 1000) as n) from unnest($2::text[]) as id`,
        [ids, huge],
      );
      expect(await Promise.all(waits.slice(0, 1_000))).toEqual(ids.map(() => 1));
      expect(performance.now() - startedAt).toBeLessThan(30_000);
      const failed = { status: "rejected", reason: { name: "ResultEncodingError" } };
      for (const outcome of (await outcomes).slice(1_000)) expect(outcome).toMatchObject(failed);
      await reader.close();
    },
    300_000,
  );
});
