/** Something that must not outlive this process. */
export interface Stoppable {
  /** Ends it in good order. */
  stop(): Promise<void>;
  /** Ends it before it returns; nothing asynchronous runs any more when a process exits. */
  stopNow(): void;
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Stops what is still running when the process exits or is told to end. Listens only while there is something to stop. */
export class ExitHooks {
  readonly #running = new Set<Stoppable>();

  add(stoppable: Stoppable): void {
    if (this.#running.size === 0) this.#listen();
    this.#running.add(stoppable);
  }

  delete(stoppable: Stoppable): void {
    if (this.#running.delete(stoppable) && this.#running.size === 0) this.#unlisten();
  }

  #listen(): void {
    process.on("exit", this.#onExit);
    for (const signal of SIGNALS) process.on(signal, this.#onSignal);
  }

  #unlisten(): void {
    process.off("exit", this.#onExit);
    this.#unlistenSignals();
  }

  #unlistenSignals(): void {
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
  }

  readonly #onExit = (): void => {
    for (const stoppable of this.#running) stoppable.stopNow();
  };

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    // The program has a listener of its own, so it decides whether and when to exit; then the exit hook runs.
    if (process.listenerCount(signal) > 1) return;
    // Before the stop, not after it: a second Ctrl-C then ends the process at once, and the watchdog does the rest.
    this.#unlistenSignals();
    void Promise.allSettled([...this.#running].map((stoppable) => stoppable.stop())).then(() => {
      // Again, and now without a listener: whoever started this process sees that a signal ended it.
      process.kill(process.pid, signal);
    });
  };
}

/** The hooks of this process. */
export const exitHooks = new ExitHooks();
