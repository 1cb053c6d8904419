// A worker process. Its parent sends it tasks, and it stores their outcomes. It knows nothing about waiters.

import { PostgresResultBackend } from "kojin-postgres";
import { mergeMap, Subject } from "rxjs";
import { databaseOfParent, followParent } from "./child";
import { type FileTask, fingerprint, type Fingerprint } from "./tasks";

/** Concurrent tasks. Results that are ready at the same time share a statement. */
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
    // The task failed, and the worker did not: the waiter gets the error, and the worker goes on.
    await backend.fail(task.taskId, error);
    return;
  }
  // Outside of the `try`: a result that cannot be stored is a failure of the worker and ends the demo.
  await backend.store(task.taskId, result);
}

void main();
