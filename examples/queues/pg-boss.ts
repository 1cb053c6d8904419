// npx tsx examples/queues/pg-boss.ts
//
// A web server awaits jobs of pg-boss. The worker stores a job's outcome under the job's own id.

import PgBoss from "pg-boss";
import { PostgresResultBackend } from "kojin-postgres";
import { pgBossHandler } from "kojin-postgres/queues";
import { type ExampleDatabase, withDatabase } from "../support/database";
import { startThumbnailServer, Studio, visit } from "./thumbnails";

const queue = "thumbnails";

async function main({ url, schema }: ExampleDatabase): Promise<void> {
  await using backend = await PostgresResultBackend.connect(url, { schema });
  await backend.migrate();
  const boss = new PgBoss({ connectionString: url, schema, supervise: false, schedule: false });
  boss.on("error", (error) => console.error("pg-boss:", error));
  await boss.start();
  try {
    await boss.createQueue(queue);
    const studio = new Studio();
    // Usually in other processes, with backends of their own.
    for (let lane = 0; lane < 3; lane += 1) await startWorker(boss, backend, studio);

    await using server = await startThumbnailServer(backend, async ({ taskId, image }) =>
      // pg-boss takes a UUID as the id of a job.
      boss.send(queue, { image }, { id: taskId, retryLimit: 1 }),
    );
    await visit(server, backend, studio);
  } finally {
    await boss.stop({ timeout: 5_000 });
  }
}

async function startWorker(boss: PgBoss, backend: PostgresResultBackend, studio: Studio): Promise<void> {
  const options = { pollingIntervalSeconds: 0.5, batchSize: 1, includeMetadata: true } as const;
  const handler = pgBossHandler(backend, async (job: PgBoss.JobWithMetadata<{ image: string }>) =>
    studio.makeThumbnail(job.data.image),
  );
  await boss.work<{ image: string }>(queue, options, handler);
}

void withDatabase(main);
