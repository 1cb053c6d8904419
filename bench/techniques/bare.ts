import { Client } from "pg";
import type { Storing, Technique, TechniqueSettings, Waiting } from "../technique";

/**
 * The least that a wake-up by Postgres can cost: an insert into a table without keys, and the event by which `pg`
 * reports the notification. Nothing is read.
 */
export const bareSchema = `
  create table bench_bare (task_id text not null, result jsonb not null);
  create function bench_bare_notify() returns trigger language plpgsql as $$
  begin
    perform pg_notify('bench_bare', task_id) from new_rows;
    return null;
  end
  $$;
  create trigger bench_bare_notify after insert on bench_bare
  referencing new table as new_rows for each statement execute function bench_bare_notify();
`;

export const bare: Technique = {
  async createStoring({ url }: TechniqueSettings): Promise<Storing> {
    const client = await connect(url);
    const store = async (taskId: string, result: unknown): Promise<void> => {
      await client.query("insert into bench_bare (task_id, result) values ($1, $2)", [taskId, JSON.stringify(result)]);
    };
    return {
      store,
      // One connection, one statement at a time.
      storeAll: async (taskIds, _lanes, result) => {
        for (const taskId of taskIds) await store(taskId, result);
      },
      close: async () => client.end(),
    };
  },

  async createWaiting({ url }: TechniqueSettings): Promise<Waiting> {
    const client = await connect(url);
    await client.query("listen bench_bare");
    let waiting = new Map<string, () => void>();
    client.on("notification", ({ payload = "" }) => waiting.get(payload)?.());
    return {
      open: async (taskIds, onResult) => {
        waiting = new Map(taskIds.map((taskId, index) => [taskId, () => onResult(index)]));
        await client.query("select 1");
      },
      close: async () => client.end(),
    };
  },
};

async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  await client.connect();
  return client;
}
