// A process that has just started.

import { PostgresResultBackend } from "kojin-postgres";
import { Client } from "pg";
import { now } from "../clock";
import { serve } from "../processes";

const tasks = {
  /** Milliseconds until a backend listens. */
  ours: async (url: string): Promise<number> => {
    const startedAt = now();
    const backend = await PostgresResultBackend.connect(url);
    await backend.ready();
    const durationMs = now() - startedAt;
    await backend.close();
    return durationMs;
  },

  /** Milliseconds until one connection of `pg` listens. */
  bare: async (url: string): Promise<number> => {
    const startedAt = now();
    const client = new Client({ connectionString: url });
    await client.connect();
    await client.query("listen bench_bare");
    const durationMs = now() - startedAt;
    await client.end();
    return durationMs;
  },
};

export type StartingTasks = typeof tasks;
serve(tasks);
