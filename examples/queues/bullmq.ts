// npx tsx examples/queues/bullmq.ts
//
// A web server awaits jobs of BullMQ: the queue is in Redis, results are in Postgres. Results survive the queue's
// clean-up and a restart of Redis, and every process that reaches the database can wait for them. Needs `redis-server`
// in the PATH and says so if it is missing.

import { type Job, Queue, Worker } from "bullmq";
import { PostgresResultBackend } from "kojin-postgres";
import { bullMqProcessor } from "kojin-postgres/queues";
import { startRedis } from "../../tools/servers";
import { type ExampleDatabase, withDatabase } from "../support/database";
import { startThumbnailServer, Studio, type ThumbnailTask, visit } from "./thumbnails";

const queueName = "thumbnails";

async function main({ url, schema }: ExampleDatabase): Promise<void> {
  await using redis = await startRedis("none");
  if (redis === undefined) {
    console.log("Skipped: there is no redis-server in the PATH (Debian: apt-get install redis-server).");
    return;
  }
  const connection = { host: "127.0.0.1", port: redis.port, maxRetriesPerRequest: null };
  await using backend = await PostgresResultBackend.connect(url, { schema });
  await backend.migrate();
  const studio = new Studio();
  const queue = new Queue<ThumbnailTask>(queueName, { connection });
  // Usually in other processes, with backends of their own.
  const worker = new Worker<ThumbnailTask>(
    queueName,
    bullMqProcessor(backend, async ({ data }: Job<ThumbnailTask>) => studio.makeThumbnail(data.image)),
    { connection, concurrency: 3 },
  );
  try {
    await using server = await startThumbnailServer(backend, async (task) =>
      // The result is in Postgres, so Redis need not keep the job.
      queue.add("thumbnail", task, { jobId: task.taskId, attempts: 2, removeOnComplete: true, removeOnFail: true }),
    );
    await visit(server, backend, studio);
  } finally {
    await worker.close();
    await queue.close();
  }
}

void withDatabase(main);
