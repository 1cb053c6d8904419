import { setImmediate as nextTurn } from "node:timers/promises";
import { BackendClosedError, PostgresResultBackend } from "kojin-postgres";
import type { Storing, Technique, TechniqueSettings, Waiting } from "../technique";

export const ours: Technique = {
  async createStoring(settings: TechniqueSettings): Promise<Storing> {
    const backend = await connect(settings);
    return {
      store: async (taskId, result) => backend.store(taskId, result),
      close: async () => backend.close(),
    };
  },

  async createWaiting(settings: TechniqueSettings): Promise<Waiting> {
    const backend = await connect(settings);
    await backend.ready();
    return {
      open: async (taskIds, onResult) => openWaits(backend, taskIds, onResult),
      close: async () => backend.close(),
    };
  },
};

async function connect({ url, options, natsServers }: TechniqueSettings): Promise<PostgresResultBackend> {
  if (natsServers === undefined) return PostgresResultBackend.connect(url, options);
  const { nats } = await import("kojin-postgres/nats");
  return PostgresResultBackend.connect(url, { ...options, notifier: nats({ servers: natsServers }) });
}

async function openWaits(
  backend: PostgresResultBackend,
  taskIds: readonly string[],
  onResult: (index: number) => void,
): Promise<void> {
  taskIds.forEach((taskId, index) => {
    backend.wait(taskId, Infinity).then(
      () => onResult(index),
      // A wait without a result ends with its backend. Any other error ends this process.
      (error: unknown) => {
        if (!(error instanceof BackendClosedError)) throw error;
      },
    );
  });
  await allOpen(backend);
}

/** Resolves once every wait has read after LISTEN was confirmed. */
export async function allOpen(backend: PostgresResultBackend): Promise<void> {
  await backend.ready();
  const hasRead = (): boolean => {
    const { queued, inFlight } = backend.stats().reads;
    return queued === 0 && inFlight === 0 && backend.stats().status === "listening";
  };
  // Reads are sent after the current turn.
  do await nextTurn();
  while (!hasRead());
}
