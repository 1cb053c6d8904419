import { once } from "node:events";
import { PostgresResultBackend } from "kojin-postgres";
import { Crew } from "./crew";
import { openDatabase } from "./database";
import { createFileTask, type FileTask } from "./tasks";

/** Far longer than a task takes. Still a limit, since a worker may die while it holds the task. */
const taskTimeoutMs = 10 * 60_000;
/** For the task that no worker takes. Short, since the demo waits for it. */
const forgottenTimeoutMs = 2_000;
/** Share of the results that are stored before the waiter waits for them. */
const earlyShare = 0.2;

/** The files of a run, and its id, which makes its task ids and schema unique. */
export interface Run {
  readonly runId: string;
  readonly folder: string;
  readonly files: readonly FileTask[];
}

/** Brings database, workers and waiter together and ends them all in any case. Rejects when `interruption` aborts. */
export async function runDemo(run: Run, interruption: AbortSignal): Promise<void> {
  // Disposed in reverse: first the processes, then this process's connections, then the database.
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
