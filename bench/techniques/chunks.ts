import { PostgresResultBackend } from "kojin-postgres";
import { merge, type Subscription } from "rxjs";
import type { Storing, Technique, TechniqueSettings, Waiting } from "../technique";

interface Emitted {
  /** Place of the chunk among all; -1 for the chunk that shows that its stream is followed. */
  readonly index: number;
  readonly result: unknown;
}

/** The library's chunks. Each stored result is a chunk of one of a number of tasks, in turn. */
export const chunksOf = (taskCount: number): Technique => ({
  async createStoring({ url, options }: TechniqueSettings): Promise<Storing> {
    const backend = await PostgresResultBackend.connect(url, options);
    return {
      store: async (taskId, result) => {
        const [prefix, index] = splitId(taskId);
        await backend.emit<Emitted>(streamOf(prefix, index % taskCount), { index, result });
      },
      close: async () => backend.close(),
    };
  },

  async createWaiting({ url, options }: TechniqueSettings): Promise<Waiting> {
    const backend = await PostgresResultBackend.connect(url, options);
    await backend.ready();
    let following: Subscription | undefined;
    return {
      open: async (taskIds, onResult) => {
        following?.unsubscribe();
        const [prefix] = splitId(taskIds[0] ?? "");
        const streams = Array.from({ length: Math.min(taskCount, taskIds.length) }, (_, place) =>
          streamOf(prefix, place),
        );
        await new Promise<void>((resolve) => {
          let unopened = streams.length;
          following = merge(...streams.map((taskId) => backend.chunks$<Emitted>(taskId))).subscribe((chunk) => {
            const index = chunk.kind === "chunk" ? chunk.value.index : NaN;
            if (index >= 0) onResult(index);
            else if ((unopened -= 1) === 0) resolve();
          });
          for (const taskId of streams) void backend.emit<Emitted>(taskId, { index: -1, result: null });
        });
      },
      close: async () => {
        following?.unsubscribe();
        await backend.close();
      },
    };
  },
});

/** Divides an id of a task range. */
function splitId(taskId: string): [prefix: string, index: number] {
  const end = taskId.lastIndexOf("-");
  return [taskId.slice(0, end), Number(taskId.slice(end + 1))];
}

const streamOf = (prefix: string, place: number): string => `${prefix}/${place}`;
