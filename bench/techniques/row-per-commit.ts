import { Pool } from "pg";
import type { Storing, Technique, TechniqueSettings } from "../technique";
import { ours } from "./ours";

const connections = 8;

/**
 * An upsert and a commit per result, through this library's triggers, on one connection per lane. The waiting side is
 * the product's.
 */
export const rowPerCommit: Technique = {
  async createStoring({ url }: TechniqueSettings): Promise<Storing> {
    const pool = new Pool({ connectionString: url, max: connections });
    await Promise.all(Array.from({ length: connections }, async () => pool.query("select pg_sleep(0.05)")));
    return {
      store: async (taskId, result) => {
        await pool.query(
          `insert into kojin_results (task_id, result, expires_at) values ($1, $2, now() + interval '1 day')
           on conflict (task_id) do update set result = excluded.result, expires_at = excluded.expires_at`,
          [taskId, JSON.stringify(result)],
        );
      },
      close: async () => pool.end(),
    };
  },
  createWaiting: async (settings) => ours.createWaiting(settings),
};
