import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";

/** One task: read the file at `path`, and store its {@link Fingerprint} as the result of `taskId`. */
export interface FileTask {
  /** What both sides agree on before any work begins: the worker stores under it, the waiter waits for it. */
  readonly taskId: string;
  /** The path as it is shown, relative to the folder of the demo. */
  readonly name: string;
  readonly path: string;
}

// The longest id the library takes is 512 bytes.
const maxNameBytes = 400;

/** One task for every file below `folder`. */
export async function listFileTasks(folder: string, runId: string): Promise<FileTask[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return files.sort().map((path) => createFileTask(folder, relative(folder, path), runId));
}

/**
 * A task for one file, whether it exists or not.
 *
 * Its id says what is asked, and of what, so that it can be read in the table and in a log. The id of the run makes it new each time: a result stays in the
 * database for a day, and a wait under the same id would find yesterday's.
 */
export function createFileTask(folder: string, name: string, runId: string): FileTask {
  return { taskId: `sha:${runId}:${shortened(name)}`, name, path: join(folder, name) };
}

function shortened(name: string): string {
  return Buffer.byteLength(name) <= maxNameBytes ? name : createHash("sha256").update(name).digest("hex");
}
