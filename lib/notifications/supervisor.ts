import { setTimeout as sleep } from "node:timers/promises";
import { backoffMs } from "../database/retry";

/** A connection that never reconnects by itself. */
export interface SupervisedSession {
  /** Ends the session, by force if necessary. */
  dispose(): Promise<void>;
}

export interface SupervisorOptions {
  /** Longest delay between two attempts to connect. The first delay is about 100 ms. */
  readonly maxDelayMs: number;
  /** Interval between two checks of a session. */
  readonly checkIntervalMs: number;
  /** Keeps the process alive while it waits to connect again. Default `false`. */
  readonly keepsProcessAlive?: boolean;
}

const firstDelayMs = 100;

/**
 * Keeps one session connected: connects, checks the session at an interval, and replaces it when it is lost, with
 * backoff and jitter, for as long as the session is needed. The LISTEN connection, the connection to NATS and the
 * session that holds a relay's lock are all kept this way.
 */
export abstract class Supervisor<Session extends SupervisedSession> {
  readonly #options: SupervisorOptions;
  #stopping = new AbortController();
  #running: Promise<void> | undefined;
  /** Aborted when the present attempt, or the session that came of it, is lost. */
  #life: AbortController | undefined;
  #session: Session | undefined;
  #checking: Session | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** The session, from when it is connected until it is lost. */
  get session(): Session | undefined {
    return this.#session;
  }

  /** Connects, unless it is connected or connecting. */
  start(): void {
    if (this.#running !== undefined && !this.#stopping.signal.aborted) return;
    this.#stopping = new AbortController();
    this.#running = this.#run(this.#stopping.signal, this.#running);
  }

  /** Ends the session, and resolves once it is closed. A running attempt to connect rejects with `reason`. */
  async stop(reason: Error): Promise<void> {
    this.#stopping.abort(reason);
    this.#life?.abort(reason);
    await this.#running;
  }

  /** Checks the session now, unless a check is running. */
  async checkNow(): Promise<void> {
    const [session, life] = [this.#session, this.#life];
    if (session === undefined || this.#checking === session) return;
    this.#checking = session;
    try {
      await this.check(session);
    } catch (error) {
      life?.abort(toError(error));
    } finally {
      if (this.#checking === session) this.#checking = undefined;
    }
  }

  /** False once nothing needs the session: it is not replaced when it is lost. */
  protected abstract get isNeeded(): boolean;

  /**
   * Opens a session. When `life` is aborted, rejects promptly with nothing left connected. Once open, the session owns
   * `life` and aborts it at the moment it is lost.
   */
  protected abstract connect(life: AbortController): Promise<Session>;

  /** Rejects if the session is of no further use. */
  protected abstract check(session: Session): Promise<void>;

  /** `attempt` counts from 0 and restarts at 1 after a loss. */
  protected abstract onConnected(session: Session, attempt: number): void;

  /** Called synchronously when the session is lost, before it is disposed of. */
  protected abstract onLost(error: Error, session: Session): void;

  /** An attempt has failed; another one follows. Not called once stopped. */
  protected abstract onFailed(error: Error, attempt: number): void;

  /** Nothing is connected, and nothing needs to be. */
  protected onIdle(): void {
    // Only some have a status to reset.
  }

  /** Delay before attempt number `attempt`, which is at least 1. */
  protected retryDelayMs(attempt: number): number {
    return backoffMs(attempt, firstDelayMs, this.#options.maxDelayMs);
  }

  async #run(stopping: AbortSignal, previous: Promise<void> | undefined): Promise<void> {
    if (previous !== undefined) await previous;
    let attempt = 0;
    while (!stopping.aborted && this.isNeeded) {
      attempt = (await this.#connectOnce(attempt)) ? 1 : attempt + 1;
      const options = { signal: stopping, ref: this.#options.keepsProcessAlive ?? false };
      await sleep(this.retryDelayMs(attempt), undefined, options).catch(() => undefined);
    }
    // Synchronously after the last check of what is needed, so that a later `start` begins again.
    if (stopping !== this.#stopping.signal) return;
    this.#running = undefined;
    this.onIdle();
  }

  /** Opens a session and keeps it until it is lost. Returns true if it was connected at all. */
  async #connectOnce(attempt: number): Promise<boolean> {
    const life = new AbortController();
    this.#life = life;
    let session: Session | undefined;
    try {
      session = await this.connect(life);
      // An error with which the server ends the session can arrive in the same packet as the answer that completed the
      // connection.
      life.signal.throwIfAborted();
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.onFailed(toError(error), attempt);
      await session?.dispose();
      return false;
    }
    await this.#untilLost(session, life.signal, attempt);
    await session.dispose();
    return true;
  }

  async #untilLost(session: Session, life: AbortSignal, attempt: number): Promise<void> {
    const { checkIntervalMs, keepsProcessAlive = false } = this.#options;
    const timer = setInterval(() => void this.checkNow(), checkIntervalMs);
    if (!keepsProcessAlive) timer.unref();
    const lost = new Promise<void>((resolve) => {
      life.addEventListener("abort", () => {
        this.#session = undefined;
        this.onLost(toError(life.reason), session);
        resolve();
      });
    });
    this.#session = session;
    this.onConnected(session, attempt);
    await lost;
    clearInterval(timer);
  }
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
