// npx tsx examples/chunks.ts
//
// Follow a task while it runs. A worker emits the words of an answer. One reader shows them as they come, another one
// disconnects in the middle and resumes where it was. Then the worker starts again.

import { randomUUID } from "node:crypto";
import { type ChunkPosition, PostgresResultBackend } from "kojin-postgres";
import { startEmbeddedPostgres } from "kojin-postgres/embedded";
import { lastValueFrom, reduce } from "rxjs";

const taskId = `answer:${randomUUID()}`;

async function main(): Promise<void> {
  const url = process.env["DATABASE_URL"] ?? (await startEmbeddedPostgres()).url;
  await using backend = await PostgresResultBackend.connect(url);
  await backend.migrate();
  const readers = Promise.all([readAsTheyCome(backend), readWithInterruption(backend)]);

  for (const word of ["Forty", "three"]) await backend.emit(taskId, word);
  // The worker was wrong and starts again. Readers are told to discard what they have seen.
  await backend.emit(taskId, "Forty", { restart: true });
  await backend.emit(taskId, "two");
  await backend.store(taskId, { words: 2 });

  const [first, second] = await readers;
  console.log(`One reader has read: ${first}. The other one: ${second}.`);
  console.log("The result:", await backend.get(taskId));
}

/** An observable ends with the task. */
async function readAsTheyCome(backend: PostgresResultBackend): Promise<string> {
  const words$ = backend
    .chunks$<string>(taskId)
    .pipe(reduce((words: string[], chunk) => (chunk.kind === "restart" ? [] : [...words, chunk.value]), []));
  return (await lastValueFrom(words$)).join(" ");
}

/** `for await` reads at the speed of the loop. After every chunk this reader loses its connection, and resumes. */
async function readWithInterruption(backend: PostgresResultBackend): Promise<string> {
  let words: string[] = [];
  let last: ChunkPosition | undefined;
  for (;;) {
    const position = last;
    for await (const chunk of backend.chunks$<string>(taskId, { after: last ?? 0 })) {
      last = chunk;
      if (chunk.kind === "restart") words = [];
      else words.push(chunk.value);
      break;
    }
    // Nothing came: the task has a result.
    if (last === position) return words.join(" ");
  }
}

void main();
