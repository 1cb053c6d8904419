import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";
import { channelOf } from "../lib/notifications/payload";
import type { SeededRandom } from "./random";
import { canFillQueue, type ServerProcess, type Site } from "./site";

/** The outcome of a fault. */
export type Injected = "injected" | "nothing to break";

export interface Fault {
  readonly name: string;
  /** Relative frequency. */
  readonly weight: number;
  /**
   * Draws all random numbers at once, so that the next fault does not depend on how long this one takes. The returned
   * function repairs what it broke before it resolves.
   */
  readonly plan: (random: SeededRandom) => (site: Site) => Promise<Injected>;
}

/** Faults caused by SQL or signals. connection-faults.ts has those of connections, and the fault loop restarts. */
export const databaseFaults: readonly Fault[] = [
  {
    name: "listener terminated",
    weight: 10,
    plan: (random) => {
      const place = random.next();
      return async (site) => terminate(site, choose(await site.listeners(), place));
    },
  },
  {
    name: "pool connection terminated",
    weight: 10,
    plan: (random) => {
      const place = random.next();
      return async (site) => terminate(site, choose(await site.poolConnections(), place));
    },
  },
  {
    name: "all connections terminated",
    weight: 3,
    plan: () => async (site) => terminate(site, await site.connections()),
  },
  {
    name: "server process stopped for a while",
    weight: 6,
    plan: (random) => {
      const [place, lengthMs] = [random.next(), random.between(100, 2_000)];
      return async (site) => freeze(choose(await site.connections(), place), lengthMs);
    },
  },
  {
    name: "triggers of results disabled",
    weight: 3,
    plan: (random) => {
      const lengthMs = random.between(100, 1_000);
      return async (site) => disableTriggers(site, lengthMs);
    },
  },
  {
    name: "table locked",
    weight: 4,
    plan: (random) => {
      const table = random.pick(["kojin_results", "kojin_groups", "kojin_group_state"]);
      const lengthMs = random.between(100, 1_000);
      return async (site) => lockTable(site, table, lengthMs);
    },
  },
  {
    name: "forged and meaningless notifications",
    weight: 5,
    plan: (random) => {
      const count = random.between(1, 200);
      const payloads = Array.from({ length: count }, () => forge(random));
      return async (site) => notifyAll(site, payloads);
    },
  },
  {
    name: "notification queue filled",
    weight: 2,
    plan: (random) => {
      const lengthMs = random.between(200, 1_500);
      return async (site) => fillQueue(site, lengthMs);
    },
  },
];

function choose(processes: readonly ServerProcess[], place: number): ServerProcess[] {
  const chosen = processes[Math.floor(place * processes.length)];
  return chosen === undefined ? [] : [chosen];
}

async function terminate(site: Site, processes: readonly ServerProcess[]): Promise<Injected> {
  if (processes.length === 0) return "nothing to break";
  await site.administer(async (client) =>
    client.query("select pg_terminate_backend(pid) from unnest($1::int[]) as pid", [processes.map(({ pid }) => pid)]),
  );
  return "injected";
}

async function freeze([victim]: readonly ServerProcess[], lengthMs: number): Promise<Injected> {
  if (victim === undefined) return "nothing to break";
  process.kill(victim.pid, "SIGSTOP");
  await sleep(lengthMs);
  try {
    process.kill(victim.pid, "SIGCONT");
  } catch {
    // The process was killed in the meantime, with the whole server.
  }
  return "injected";
}

/** Only the triggers that notify: the counting triggers are part of what a group is. */
async function disableTriggers(site: Site, lengthMs: number): Promise<Injected> {
  const set = async (state: "disable" | "enable"): Promise<void> =>
    site.administer(async (client) => {
      const table = `${client.escapeIdentifier(site.schema)}.kojin_results`;
      // No longer than this: every later statement queues behind the session that waits for this lock.
      await client.query("set lock_timeout = '1s'");
      await client.query(`alter table ${table} ${state} trigger user`);
    });
  await set("disable");
  try {
    await sleep(lengthMs);
  } finally {
    await site.untilRepaired(async () => set("enable"));
  }
  return "injected";
}

async function lockTable(site: Site, table: string, lengthMs: number): Promise<Injected> {
  await site.administer(async (client) => {
    await client.query("begin; set local lock_timeout = '1s'");
    await client.query(`lock table ${client.escapeIdentifier(site.schema)}.${table} in access exclusive mode`);
    await sleep(lengthMs);
    await client.query("commit");
  });
  return "injected";
}

/** Known ids, unknown ids, results that were never stored, and text that is no notification at all. */
function forge(random: SeededRandom): string {
  const id = `${random.pick(["task", "group"])} ${random.between(1, 5_000)}`;
  const forgeries = [
    "",
    "x".repeat(random.between(1, 7_000)),
    "null",
    '{"v":2,"ids":["task 1"]}',
    '{"v":1,"ids":[1]}',
    '{"v":1,"ids":[["\\u0000","1",null,1]]}',
    JSON.stringify({ v: 1, rescan: true }),
    JSON.stringify({ v: 1, ids: [id, "forged"] }),
    JSON.stringify({ v: 1, ids: [[id, '"forged"', null, 4_102_444_800_000_000]] }),
    JSON.stringify({ v: 1, done: [id, "forged"] }),
    JSON.stringify({ v: 1, groups: [id] }),
    JSON.stringify({ v: 1, members: [id] }),
  ];
  return random.pick(forgeries);
}

async function notifyAll(site: Site, payloads: readonly string[]): Promise<Injected> {
  await site.administer(async (client) =>
    client.query("select pg_notify($1, payload) from unnest($2::text[]) as payload", [
      channelOf(site.schema),
      payloads,
    ]),
  );
  return "injected";
}

/** A listener that is idle in a transaction keeps the queue from shrinking while another session fills it. */
async function fillQueue(site: Site, lengthMs: number): Promise<Injected> {
  if (!canFillQueue()) return "nothing to break";
  await site.administer(async (listener) => {
    await listener.query("listen soak_queue");
    await listener.query("begin");
    await listener.query("select 1");
    await site.administer(fill);
    await sleep(lengthMs);
    await listener.query("rollback");
  });
  return "injected";
}

async function fill(client: Client): Promise<void> {
  for (let round = 0; round < 100; round += 1) {
    try {
      await client.query("select pg_notify('soak_queue', $1 || repeat('x', 7900)) from generate_series(1, 8)", [round]);
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "54000") return;
      throw error;
    }
  }
}
