import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";

/** A task: read the file at `path`, and store its {@link Fingerprint} as the result of `taskId`. */
export interface FileTask {
  /** Agreed on before any work begins: the worker stores under it, and the waiter waits for it. */
  readonly taskId: string;
  /** The path to show, relative to the folder of the demo. */
  readonly name: string;
  readonly path: string;
}

// The library accepts ids of up to 512 bytes.
const maxNameBytes = 400;
const lineEnd = "\n".charCodeAt(0);

/** Creates a task for every file below `folder`. */
export async function listFileTasks(folder: string, runId: string): Promise<FileTask[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return files.sort().map((path) => createFileTask(folder, relative(folder, path), runId));
}

/**
 * Creates a task for a file, which need not exist.
 *
 * The id names the work and its subject, so that it can be read in the table and in a log. The run's id makes it
 * unique: results stay for a day, and a wait under the same id would find yesterday's.
 */
export function createFileTask(folder: string, name: string, runId: string): FileTask {
  return { taskId: `sha:${runId}:${shortened(name)}`, name, path: join(folder, name) };
}

function shortened(name: string): string {
  return Buffer.byteLength(name) <= maxNameBytes ? name : createHash("sha256").update(name).digest("hex");
}

/** The findings about a file: JSON, since it becomes the result of a task. */
export interface Fingerprint {
  readonly sizeBytes: number;
  /** Line breaks, as `wc -l` counts them. */
  readonly lines: number;
  /** In hexadecimal. */
  readonly sha256: string;
}

/** Reads the file once, in pieces, whatever its size. Rejects as `node:fs` does. */
export async function fingerprint(path: string): Promise<Fingerprint> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  let lines = 0;
  for await (const piece of createReadStream(path) as AsyncIterable<Buffer>) {
    hash.update(piece);
    sizeBytes += piece.length;
    for (let at = piece.indexOf(lineEnd); at !== -1; at = piece.indexOf(lineEnd, at + 1)) lines += 1;
  }
  return { sizeBytes, lines, sha256: hash.digest("hex") };
}
