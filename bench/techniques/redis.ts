import { Redis } from "ioredis";
import type { Storing, Technique, TechniqueSettings, Waiting } from "../technique";

const channel = "bench";
const ttlSeconds = 86_400;

/** SET and PUBLISH, then GET. Commands of one turn travel together. */
export const redis: Technique = {
  createStoring(settings: TechniqueSettings): Promise<Storing> {
    const client = connect(settings);
    return Promise.resolve({
      store: async (taskId, result) => {
        await Promise.all([
          client.set(taskId, JSON.stringify(result), "EX", ttlSeconds),
          client.publish(channel, taskId),
        ]);
      },
      close: async () => {
        await client.quit();
      },
    });
  },

  async createWaiting(settings: TechniqueSettings): Promise<Waiting> {
    const [client, subscriber] = [connect(settings), connect(settings)];
    const waiting = new Map<string, (result: unknown) => void>();
    const read = async (taskId: string): Promise<void> => {
      const text = await client.get(taskId);
      const resolve = waiting.get(taskId);
      if (text === null || resolve === undefined) return;
      waiting.delete(taskId);
      resolve(JSON.parse(text));
    };
    await subscriber.subscribe(channel);
    subscriber.on("message", (_, taskId) => {
      if (waiting.has(taskId)) void read(taskId);
    });
    return {
      open: async (taskIds, onResult) => {
        taskIds.forEach((taskId, index) => {
          void new Promise((resolve) => waiting.set(taskId, resolve)).then(() => onResult(index));
        });
        await Promise.all(taskIds.map(read));
      },
      close: async () => {
        await Promise.all([client.quit(), subscriber.quit()]);
      },
    };
  },
};

function connect({ redisPort }: TechniqueSettings): Redis {
  if (redisPort === undefined) throw new TypeError("redisPort: expected the port of a server, got none.");
  return new Redis({ host: "127.0.0.1", port: redisPort, enableAutoPipelining: true });
}
