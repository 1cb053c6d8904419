// References that use `pg` alone.

import { Client, Pool } from "pg";
import { encodePayloads } from "../../lib/notifications/payload";
import { resolveOptions } from "../../lib/options";
import { StoreStatements } from "../../lib/results/store-statements";
import type { Storing, Technique, TechniqueSettings, Waiting } from "../technique";
import { ours } from "./ours";

/** Tables with no triggers other than one that notifies. Only the one that is read has a key. */
export const bareSchema = `
  create table bench_bare (task_id text not null, result jsonb not null);
  create table bench_read (task_id text primary key, result jsonb not null);
  create function bench_notify() returns trigger language plpgsql as $$
  begin
    perform pg_notify(tg_table_name, task_id) from new_rows;
    return null;
  end
  $$;
  create trigger bench_notify after insert on bench_bare
  referencing new table as new_rows for each statement execute function bench_notify();
  create trigger bench_notify after insert on bench_read
  referencing new table as new_rows for each statement execute function bench_notify();
`;

/**
 * The least that a notification by Postgres can cost: an insert into a table without keys, and the event by which `pg`
 * reports the notification. Nothing is read.
 */
export const bare: Technique = {
  createStoring: async (settings) => storeInto("bench_bare", settings),

  async createWaiting({ url }: TechniqueSettings): Promise<Waiting> {
    const listener = await listen("bench_bare", url);
    return {
      open: async (taskIds, onResult) => listener.await(taskIds, onResult),
      close: async () => listener.close(),
    };
  },
};

/**
 * The least that a wake-up by Postgres can cost if the result is read: the same with a table that has a key, and with a
 * prepared select of one row on another connection, which is sent as soon as the notification is there.
 */
export const bareWithRead: Technique = {
  createStoring: async (settings) => storeInto("bench_read", settings),

  async createWaiting({ url }: TechniqueSettings): Promise<Waiting> {
    const [listener, reader] = await Promise.all([listen("bench_read", url), connect(url)]);
    const text = "select result from bench_read where task_id = $1";
    return {
      open: async (taskIds, onResult) =>
        listener.await(taskIds, (index) => {
          reader.query({ name: "read", text, values: [taskIds[index]] }, (error) => {
            if ((error as Error | null) !== null) throw error;
            onResult(index);
          });
        }),
      close: async () => {
        await Promise.all([listener.close(), reader.end()]);
      },
    };
  },
};

/** Inserts on one connection, one statement at a time. */
async function storeInto(table: string, { url }: TechniqueSettings): Promise<Storing> {
  const client = await connect(url);
  const insert = `insert into ${table} (task_id, result) values ($1, $2)`;
  const store = async (taskId: string, result: unknown): Promise<void> => {
    await client.query(insert, [taskId, JSON.stringify(result)]);
  };
  return {
    store,
    storeAll: async (taskIds, _lanes, result) => {
      for (const taskId of taskIds) await store(taskId, result);
    },
    close: async () => client.end(),
  };
}

interface BareListener {
  /** Calls `onNotified` with the place of each task that is announced. */
  await(taskIds: readonly string[], onNotified: (index: number) => void): Promise<void>;
  close(): Promise<void>;
}

async function listen(channel: string, url: string): Promise<BareListener> {
  const client = await connect(url);
  await client.query(`listen ${channel}`);
  let waiting = new Map<string, () => void>();
  client.on("notification", ({ payload = "" }) => waiting.get(payload)?.());
  return {
    await: async (taskIds, onNotified) => {
      waiting = new Map(taskIds.map((taskId, index) => [taskId, () => onNotified(index)]));
      await client.query("select 1");
    },
    close: async () => client.end(),
  };
}

/** The library's own statement, prepared, on one connection of `pg`. The waiting side is the library's. */
export const bareStore: Technique = {
  async createStoring({ url }: TechniqueSettings): Promise<Storing> {
    const client = await connect(url);
    const [ttlMs, giveUpAt] = [86_400_000, Date.now() / 1_000 + 3_600];
    const row = { taskId: "", result: "null", error: null, ttlMs, keep: false };
    const limits = { notifies: true, timeoutMs: 0, giveUpAt };
    const { text } = new StoreStatements(resolveOptions(), false).first([row], limits);
    return {
      store: async (taskId, result) => {
        const values = [taskId, JSON.stringify(result), null, ttlMs, giveUpAt, encodePayloads("ids", [taskId])[0]];
        await client.query({ name: "store", text, values });
      },
      close: async () => client.end(),
    };
  },
  createWaiting: async (settings) => ours.createWaiting(settings),
};

export const pollingSchema = "create table bench_polled (task_id text primary key, result jsonb not null)";
const pollingIntervalMs = 100;

/** A table without triggers, and one query per interval for everything that is awaited. */
export const polling: Technique = {
  async createStoring({ url }: TechniqueSettings): Promise<Storing> {
    const client = await connect(url);
    const insert = "insert into bench_polled (task_id, result) values ($1, $2)";
    return {
      store: async (taskId, result) => {
        await client.query(insert, [taskId, JSON.stringify(result)]);
      },
      close: async () => client.end(),
    };
  },

  async createWaiting({ url }: TechniqueSettings): Promise<Waiting> {
    const client = await connect(url);
    const waiting = new Map<string, () => void>();
    const poll = async (): Promise<void> => {
      if (waiting.size === 0) return;
      const { rows } = await client.query<{ task_id: string }>(
        "select task_id, result from bench_polled where task_id = any($1)",
        [[...waiting.keys()]],
      );
      for (const { task_id: taskId } of rows) {
        waiting.get(taskId)?.();
        waiting.delete(taskId);
      }
    };
    const timer = setInterval(() => void poll(), pollingIntervalMs);
    return {
      open: async (taskIds, onResult) => {
        taskIds.forEach((taskId, index) => waiting.set(taskId, () => onResult(index)));
        await poll();
      },
      close: async () => {
        clearInterval(timer);
        await client.end();
      },
    };
  },
};

const connectionsPerCommit = 8;

/** An upsert and a commit per result, through this library's triggers. The waiting side is the library's. */
export const rowPerCommit: Technique = {
  async createStoring({ url }: TechniqueSettings): Promise<Storing> {
    const pool = new Pool({ connectionString: url, max: connectionsPerCommit });
    await Promise.all(Array.from({ length: connectionsPerCommit }, async () => pool.query("select pg_sleep(0.05)")));
    const upsert = `
      insert into kojin_results (task_id, result, expires_at) values ($1, $2, now() + interval '1 day')
      on conflict (task_id) do update set result = excluded.result, expires_at = excluded.expires_at`;
    return {
      store: async (taskId, result) => {
        await pool.query(upsert, [taskId, JSON.stringify(result)]);
      },
      close: async () => pool.end(),
    };
  },
  createWaiting: async (settings) => ours.createWaiting(settings),
};

async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  await client.connect();
  return client;
}
