// A worker process. It takes tasks from its parent, one message each, and stores what becomes of them. It does not know who waits, or whether anybody does.

import { PostgresResultBackend } from "kojin-postgres";
import { mergeMap, Subject } from "rxjs";
import { followParent } from "./child";
import { databaseOfParent } from "./database";
import { fingerprint, type Fingerprint } from "./fingerprint";
import type { FileTask } from "./tasks";

/** Tasks under way at once. Results that are ready at the same time travel in one statement. */
const maxConcurrent = 4;

async function main(): Promise<void> {
  const { url, schema } = databaseOfParent();
  const backend = await PostgresResultBackend.connect(url, { schema });

  const tasks$ = new Subject<FileTask>();
  const working = tasks$.pipe(mergeMap((task) => runTask(backend, task), maxConcurrent)).subscribe();
  process.on("message", (task: FileTask) => tasks$.next(task));

  followParent(() => {
    working.unsubscribe();
    void backend.close();
  });
}

async function runTask(backend: PostgresResultBackend, task: FileTask): Promise<void> {
  let result: Fingerprint;
  try {
    result = await fingerprint(task.path);
  } catch (error) {
    // The task failed, the worker did not: whoever waits gets the error, and the next task is taken.
    await backend.fail(task.taskId, error);
    return;
  }
  // Outside of the `try`: a result that cannot be stored is a failure of the worker, and ends the demo.
  await backend.store(task.taskId, result);
}

void main();
