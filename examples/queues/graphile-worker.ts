// npx tsx examples/queues/graphile-worker.ts
//
// A web server awaits jobs of graphile-worker. Its job ids are small numbers that anyone can guess, so the task's id
// travels in the payload.

import { Logger, makeWorkerUtils, run } from "graphile-worker";
import { PostgresResultBackend } from "kojin-postgres";
import { graphileTask } from "kojin-postgres/queues";
import { type ExampleDatabase, withDatabase } from "../support/database";
import { startThumbnailServer, Studio, type ThumbnailTask, visit } from "./thumbnails";

// Silences its console: it reports each failed attempt, and `broken.png` fails on purpose.
const logger = new Logger(() => () => undefined);

async function main({ url, schema }: ExampleDatabase): Promise<void> {
  await using backend = await PostgresResultBackend.connect(url, { schema });
  await backend.migrate();
  const shared = { connectionString: url, schema, logger };
  const studio = new Studio();
  const utils = await makeWorkerUtils(shared);
  await utils.migrate();
  // Usually in other processes, with backends of their own.
  const runner = await run({
    ...shared,
    concurrency: 3,
    noHandleSignals: true,
    taskList: {
      thumbnail: graphileTask(backend, async ({ image }: ThumbnailTask) => studio.makeThumbnail(image)),
    },
  });
  try {
    await using server = await startThumbnailServer(backend, async (task) =>
      // One attempt, since graphile-worker waits for seconds before the second.
      utils.addJob("thumbnail", task, { maxAttempts: 1 }),
    );
    await visit(server, backend, studio);
  } finally {
    await runner.stop();
    await utils.release();
  }
}

void withDatabase(main);
