import { once } from "node:events";
import { PostgresResultBackend } from "kojin-postgres";
import { Crew } from "./crew";
import { openDatabase } from "./database";
import { createFileTask, type FileTask } from "./tasks";

/** Far more than a task takes. A limit all the same: a worker may die with the task in its hands. */
const taskTimeoutMs = 10 * 60_000;
/** For the task that nobody takes. Short, since the demo goes on until it is over. */
const forgottenTimeoutMs = 2_000;
/** This part of the results is stored before anybody waits for them. */
const earlyShare = 0.2;

/** What the demo is about: the files, and the run whose name makes ids and schema its own. */
export interface Run {
  readonly runId: string;
  readonly folder: string;
  readonly files: readonly FileTask[];
}

/** Brings database, workers and waiter together, and ends them all, whatever happens. Rejects when `interruption` aborts. */
export async function runDemo(run: Run, interruption: AbortSignal): Promise<void> {
  // Ended in reverse: first the processes, then the connections of this one, then the database.
  await using database = await openDatabase(run.runId);
  await using backend = await PostgresResultBackend.connect(database.url, { schema: database.schema });
  await backend.migrate();
  await using crew = new Crew(database);
  introduce(run, database.label);
  await Promise.race([play(run, backend, crew), crew.lost, rejectAt(interruption)]);
}

async function play({ runId, folder, files }: Run, backend: PostgresResultBackend, crew: Crew): Promise<void> {
  const missing = createFileTask(folder, `missing-${runId}.txt`, runId);
  const forgotten = createFileTask(folder, `forgotten-${runId}.txt`, runId);

  const early = files.slice(0, Math.ceil(files.length * earlyShare));
  crew.handOut(early);
  await Promise.all(early.map(({ taskId }) => backend.waitSettled(taskId, taskTimeoutMs)));

  await crew.openWaits([
    ...[...files, missing].map((task) => ({ ...task, timeoutMs: taskTimeoutMs })),
    { ...forgotten, timeoutMs: forgottenTimeoutMs },
  ]);
  crew.handOut([...files.slice(early.length), missing]);
  await crew.reported();
}

function introduce({ folder, files }: Run, server: string): void {
  console.log(
    `\n${files.length} files below ${folder}: two processes fingerprint them, a third one waits for the results.`,
  );
  console.log(
    `All they share is ${server} and the ids of the tasks${files[0] ? `, such as ${files[0].taskId}` : ""}.\n`,
  );
}

async function rejectAt(interruption: AbortSignal): Promise<never> {
  if (!interruption.aborted) await once(interruption, "abort");
  throw new Error("interrupted", { cause: interruption.reason });
}
