import { randomUUID } from "node:crypto";
import { firstValueFrom, Subject } from "rxjs";
import type { ResolvedOptions } from "../options";
import { type DeleteParts, deleteResult } from "../results/delete";
import { toStoreRow } from "../results/store-row";
import type { Writer } from "../results/writer";
import { encodeResult } from "../value/json";
import type { Results } from "../results/results";
import type { WakeCause, Watcher } from "../waiting/router";

export interface ProbeParts extends DeleteParts {
  readonly options: ResolvedOptions;
  readonly writer: Writer;
  readonly results: Results;
}

export interface Probe {
  /** What told of the result; `timeout` if nothing did. */
  readonly wokenBy: WakeCause | "timeout";
  /** From the call that stored it, in milliseconds. */
  readonly tookMs: number;
}

/** Longer than the interval of reading while nothing is heard. */
const probeTimeoutMs = 5_000;
/** For a process that dies before it has deleted it. */
const keepMs = 60_000;

/** Stores a result under an id of its own, waits for it as anybody would, and deletes it. */
export async function probeRoundTrip(parts: ProbeParts): Promise<Probe> {
  const { results, writer, options } = parts;
  const taskId = `kojin-probe:${randomUUID()}`;
  const arrival$ = new Subject<WakeCause | "timeout">();
  const arrival = firstValueFrom(arrival$);
  // Beside the stream, which holds the listener open, but does not tell what woke it.
  const watcher: Watcher<unknown> = {
    key: taskId,
    next: (_value, cause) => arrival$.next(cause),
    error: (error) => arrival$.error(error),
  };
  results.router.add(watcher);
  const watching = results.waits.watch$(taskId).subscribe({ error: (error: unknown) => arrival$.error(error) });
  const timer = setTimeout(() => arrival$.next("timeout"), probeTimeoutMs);
  try {
    // Once this is back, the result is none that the first read could have found.
    await Promise.race([results.loader.load(taskId, "read"), arrival]);
    const storedAt = performance.now();
    await writer.store(toStoreRow(taskId, encodeResult(taskId, null, options.maxResultBytes), null, {}, keepMs));
    return { wokenBy: await arrival, tookMs: performance.now() - storedAt };
  } finally {
    clearTimeout(timer);
    watching.unsubscribe();
    results.router.remove(watcher);
    arrival.catch(() => undefined);
    await deleteResult(parts, taskId).catch(() => undefined);
  }
}
