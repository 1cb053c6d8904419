// npx tsx examples/queues/attach-pg-boss.ts
//
// A web server awaits jobs of pg-boss by their ids. The workers know nothing of this library: a trigger on the table of
// pg-boss copies the outcomes of its jobs.

import PgBoss from "pg-boss";
import { PostgresResultBackend } from "kojin-postgres";
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
    // Or: npx kojin-postgres attach pg-boss
    await backend.attachQueue("pg-boss", { schema });
    const studio = new Studio();
    // Usually in other processes.
    for (let lane = 0; lane < 3; lane += 1)
      await boss.work<{ image: string }>(queue, { pollingIntervalSeconds: 0.5 }, async ([job]) =>
        studio.makeThumbnail(job?.data.image ?? ""),
      );

    await using server = await startThumbnailServer(backend, async ({ taskId, image }) =>
      // pg-boss takes a UUID as the id of a job.
      boss.send(queue, { image }, { id: taskId, retryLimit: 1 }),
    );
    await visit(server, backend, studio);
  } finally {
    await boss.stop({ timeout: 5_000 });
  }
}

void withDatabase(main);
