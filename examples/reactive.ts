// npx tsx examples/reactive.ts
//
// Results as RxJS streams: those of all tasks, whichever process stores them, and that of one task.

import { randomUUID } from "node:crypto";
import { PostgresResultBackend, type TaskOutcome } from "kojin-postgres";
import { startEmbeddedPostgres } from "kojin-postgres/embedded";
import { bufferTime, defaultIfEmpty, filter, lastValueFrom, of, take, takeUntil, tap, timeout, timer } from "rxjs";

const runId = randomUUID().slice(0, 8);

async function main(): Promise<void> {
  const url = process.env["DATABASE_URL"] ?? (await startEmbeddedPostgres()).url;
  await using backend = await PostgresResultBackend.connect(url);
  await backend.migrate();
  await showAllInGroups(backend);
  await showOneInTime(backend);
  await letOneGo(backend);
}

/** `results$` emits what is stored after the subscription. `where` filters by id, before anything is read. */
async function showAllInGroups(backend: PostgresResultBackend): Promise<void> {
  const thumbnails$ = backend.results$<string>({ where: (taskId) => taskId.startsWith(`thumbnail:${runId}:`) });
  const shown = lastValueFrom(
    thumbnails$.pipe(
      take(5),
      bufferTime(200),
      filter((group) => group.length > 0),
      tap((group) => console.log(`${group.length} thumbnails at once: ${group.map(describe).join(", ")}`)),
    ),
  );
  // The subscription has begun to listen. From here on it misses nothing.
  await backend.ready();

  await Promise.all([1, 2, 3].map((page) => backend.store(`thumbnail:${runId}:${page}`, `page-${page}.png`)));
  await backend.store(`invoice:${runId}`, "not a thumbnail");
  await lastValueFrom(timer(300));
  await backend.store(`thumbnail:${runId}:4`, "page-4.png");
  await backend.fail(`thumbnail:${runId}:5`, new RangeError("there is no page 5"));
  await shown;
}

/** A failure is one more outcome here. It does not end the stream. */
function describe(outcome: TaskOutcome<string>): string {
  return outcome.status === "fulfilled" ? outcome.value : String(outcome.reason);
}

/** `result$` is one task, and waits without limit. RxJS operators set the limit and the fallback. */
async function showOneInTime(backend: PostgresResultBackend): Promise<void> {
  const report$ = backend
    .result$<string>(`report:${runId}`)
    .pipe(timeout({ first: 300, with: () => of("not ready yet, look again later") }));
  console.log("The report, before it is stored:", await lastValueFrom(report$));
  await backend.store(`report:${runId}`, "42 pages");
  console.log("The report, after it is stored:", await lastValueFrom(report$));
}

/** Unsubscribing ends the wait and releases everything it held. */
async function letOneGo(backend: PostgresResultBackend): Promise<void> {
  const userLeft$ = timer(200);
  const upload$ = backend
    .result$<string>(`upload:${runId}`)
    .pipe(takeUntil(userLeft$), defaultIfEmpty("the user left"));
  console.log(`The upload: ${await lastValueFrom(upload$)}; open waits: ${backend.stats().waiting}`);
}

void main();
