import { Client } from "pg";
import type { Storing, Technique, TechniqueSettings, Waiting } from "../technique";

const intervalMs = 100;

/** A table without triggers, and one query every 100 ms for everything that is awaited. */
export const pollingSchema = "create table bench_polled (task_id text primary key, result jsonb not null)";

export const polling: Technique = {
  async createStoring({ url }: TechniqueSettings): Promise<Storing> {
    const client = await connect(url);
    return {
      store: async (taskId, result) => {
        await client.query("insert into bench_polled (task_id, result) values ($1, $2)", [
          taskId,
          JSON.stringify(result),
        ]);
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
    const timer = setInterval(() => void poll(), intervalMs);
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

async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  await client.connect();
  return client;
}
