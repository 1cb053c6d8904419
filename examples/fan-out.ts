// npx tsx examples/fan-out.ts
//
// Fan-out and fan-in: three workers hash the files of lib/, one task each, while this process waits for all of them.
// One task fails and is tried again.

import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join, relative, sep } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Presets, SingleBar } from "cli-progress";
import { finalize, lastValueFrom, tap } from "rxjs";
import { GroupFailedError, PostgresResultBackend, type GroupProgress } from "kojin-postgres";
import { type ExampleDatabase, withDatabase } from "./support/database";

interface Fingerprint {
  readonly sizeBytes: number;
  readonly sha256: string;
}

const folder = join(__dirname, "..", "lib");
const groupId = "files of lib";
/** Its first attempt fails. */
const flakyFile = "index.ts";

async function main(database: ExampleDatabase): Promise<void> {
  const { url, schema } = database;
  await using backend = await PostgresResultBackend.connect(url, { schema });
  await backend.migrate();
  const files = await listFiles();
  await backend.initGroup(groupId, files);

  const queue = [...files];
  const [[outcome]] = await Promise.all([
    Promise.allSettled([backend.waitGroup<Fingerprint>(groupId, 30_000)]),
    showProgress(backend),
    ...[1, 2, 3].map(async () => work(database, queue)),
  ]);
  summarize(files, outcome.status === "fulfilled" ? outcome.value : await retry(backend, outcome.reason));
}

/** A worker, usually in a process of its own. It shares only the database and a queue with the others. */
async function work({ url, schema }: ExampleDatabase, queue: string[]): Promise<void> {
  await using backend = await PostgresResultBackend.connect(url, { schema });
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    try {
      if (file === flakyFile) throw new Error("the disk did not answer");
      await backend.completeGroupMember(groupId, file, await fingerprint(file));
    } catch (error) {
      await backend.failGroupMember(groupId, file, error);
    }
    await sleep(20); // Hashing alone would be too fast to watch.
  }
}

/**
 * A group is done when all its members have finished or failed. A later success replaces a failure, and the group can
 * be read again.
 */
async function retry(backend: PostgresResultBackend, error: unknown): Promise<Fingerprint[]> {
  if (!(error instanceof GroupFailedError)) throw error;
  for (const { taskId, failure } of error.failures) {
    console.log(`${taskId} failed (${failure.message}), so it is done once more.`);
    await backend.completeGroupMember(groupId, taskId, await fingerprint(taskId));
  }
  return lastValueFrom(backend.groupResults$<Fingerprint>(groupId));
}

/**
 * `group$` emits the group's progress at every change and completes when the group is done. Without a terminal, a line
 * for every quarter.
 */
async function showProgress(backend: PostgresResultBackend): Promise<void> {
  const bar = process.stdout.isTTY ? openBar() : undefined;
  let quarters = 0;
  const show = ({ total, completed, failed }: GroupProgress): void => {
    const size = total ?? 0;
    bar?.setTotal(size);
    bar?.update(completed, { failed });
    const reached = Math.floor((4 * (completed + failed)) / size);
    if (bar === undefined && reached > quarters) console.log(`${completed} of ${size} files, ${failed} failed`);
    quarters = reached;
  };
  await lastValueFrom(
    backend.group$(groupId).pipe(
      tap(show),
      finalize(() => bar?.stop()),
    ),
  );
}

function openBar(): SingleBar {
  const format = "{bar} {value} of {total} files, {failed} failed";
  const bar = new SingleBar({ stream: process.stdout, format, barsize: 30, hideCursor: true }, Presets.shades_classic);
  bar.start(0, 0, { failed: 0 });
  return bar;
}

/** The results come in the order given to `initGroup`, whatever the order in which the tasks finished. */
function summarize(files: readonly string[], results: readonly Fingerprint[]): void {
  const all = createHash("sha256");
  for (const { sha256 } of results) all.update(sha256);
  const sizeBytes = results.reduce((sum, result) => sum + result.sizeBytes, 0);
  const [first] = results;
  console.log(`First: ${files[0] ?? "none"}, ${first?.sizeBytes ?? 0} bytes, ${first?.sha256.slice(0, 12) ?? ""}…`);
  console.log(
    `All ${results.length} files: ${sizeBytes.toLocaleString("en")} bytes, ${all.digest("hex").slice(0, 12)}…`,
  );
}

async function fingerprint(file: string): Promise<Fingerprint> {
  const content = await readFile(join(folder, file));
  return { sizeBytes: content.length, sha256: createHash("sha256").update(content).digest("hex") };
}

async function listFiles(): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  return files.map((file) => relative(folder, file).replaceAll(sep, "/")).sort();
}

void withDatabase(main);
