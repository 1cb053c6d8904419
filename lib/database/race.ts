import { longestTimerMs } from "../value/arguments";

/** Settles like `work`, or with the outcome of `onLate` after `limitMs`. `work` itself continues. */
export async function withTimeLimit<T>(work: Promise<T>, limitMs: number, onLate: () => T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, Math.min(limitMs, longestTimerMs))));
  try {
    return await Promise.race([work, late.then(onLate)]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until `work` has settled in any way, for `limitMs` at most. */
export async function settledWithin(work: Promise<unknown>, limitMs: number): Promise<void> {
  await withTimeLimit<unknown>(
    work.catch(() => undefined),
    limitMs,
    () => undefined,
  );
}

/** Settles like `work`, or rejects with the reason of the first signal that aborts. `work` itself continues. */
export async function unlessAborted<T>(work: Promise<T>, signals: readonly AbortSignal[]): Promise<T> {
  let stop = (): void => undefined;
  const aborted = new Promise<AbortSignal | undefined>((resolve) => {
    stop = () => resolve(signals.find((signal) => signal.aborted));
  }).then((signal) => {
    throw signal?.reason;
  });
  for (const signal of signals) signal.addEventListener("abort", stop);
  if (signals.some((signal) => signal.aborted)) stop();
  try {
    return await Promise.race([work, aborted]);
  } finally {
    for (const signal of signals) signal.removeEventListener("abort", stop);
  }
}

/** Resolves after `delayMs`; rejects with the reason of the first signal that aborts before. */
export async function pause(delayMs: number, signals: readonly AbortSignal[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const elapsed = new Promise<void>((resolve) => (timer = setTimeout(resolve, delayMs)));
  try {
    await unlessAborted(elapsed, signals);
  } finally {
    clearTimeout(timer);
  }
}
