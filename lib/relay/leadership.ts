import { setTimeout as sleep } from "node:timers/promises";
import { backoffMs } from "../database/retry";
import type { SessionConfig } from "../database/session-config";
import { LockSession } from "./lock-session";

export interface LeadershipParts {
  readonly config: SessionConfig;
  readonly schema: string;
  /** Whether it is of any use to lead at present. */
  readonly mayLead: () => boolean;
  readonly onGained: () => void;
  /** Called in the moment in which it is no longer certain that nobody else leads. */
  readonly onLost: (reason: string) => void;
  /** Called when its report has changed in another way. */
  readonly onChange: () => void;
}

export interface LeadershipReport {
  /** Whether its session is up, in which it has the lock or tries for it. */
  readonly isConnected: boolean;
  /** Sessions lost, or given up as dead, so far. */
  readonly reconnects: number;
  /** Why it is not connected, in words; undefined while it is. */
  readonly problem: string | undefined;
}

/** Between two checks of the lead, and between two attempts to get it: the longest time that a killed leader is not missed. */
const checkMs = 1_000;
const reconnectBackoff = { baseMs: 100, capMs: 5_000 };

/**
 * Sees to it that of all relays of a schema one leads: it who has the advisory lock. That is tried for again and again, and not waited for in the server: a statement that waits keeps
 * its snapshot, and vacuum would clean up nothing meanwhile.
 */
export class Leadership {
  readonly #parts: LeadershipParts;
  readonly #key: string;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #isLeader = false;
  #isConnected = false;
  #reconnects = 0;
  #problem: string | undefined = "not connected yet";

  constructor(parts: LeadershipParts) {
    this.#parts = parts;
    this.#key = `kojin-postgres relay ${parts.schema}`;
  }

  get report(): LeadershipReport {
    return { isConnected: this.#isConnected, reconnects: this.#reconnects, problem: this.#problem };
  }

  start(): void {
    this.#running ??= this.#run(this.#stopping.signal);
  }

  /** Gives the lead up, and ends. */
  async close(): Promise<void> {
    this.#stopping.abort(new Error("The relay was closed"));
    await this.#running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    let attempt = 0;
    while (!signal.aborted) {
      const { error, wasConnected } = await this.#serve(signal);
      attempt = wasConnected ? 1 : attempt + 1;
      if (wasConnected) this.#reconnects += 1;
      this.#problem = error.message;
      this.#parts.onChange();
      const delayMs = backoffMs(attempt, reconnectBackoff.baseMs, reconnectBackoff.capMs);
      await sleep(delayMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /** Opens a session and stays with it until it is lost; gives the reason. */
  async #serve(signal: AbortSignal): Promise<{ error: Error; wasConnected: boolean }> {
    const ended = new AbortController();
    const end = (error: Error): void => {
      // First of all: somebody else may have the lock already.
      this.#disconnected(error.message);
      ended.abort(error);
    };
    const stop = (): void => end(signal.reason as Error);
    signal.addEventListener("abort", stop);
    let session: LockSession | undefined;
    let wasConnected = false;
    try {
      session = await LockSession.open(this.#parts.config.resolve(), this.#key, end, signal);
      wasConnected = true;
      if (!ended.signal.aborted) this.#connected();
      while (!ended.signal.aborted) {
        await this.#check(session, ended.signal);
        await sleep(checkMs, undefined, { signal: ended.signal }).catch(() => undefined);
      }
      return { error: ended.signal.reason as Error, wasConnected };
    } catch (error) {
      const reason = error instanceof Error ? error : new Error(String(error));
      this.#disconnected(reason.message);
      return { error: ended.signal.aborted ? (ended.signal.reason as Error) : reason, wasConnected };
    } finally {
      signal.removeEventListener("abort", stop);
      await session?.dispose();
    }
  }

  async #check(session: LockSession, ended: AbortSignal): Promise<void> {
    const mayLead = this.#parts.mayLead();
    if (this.#isLeader && !mayLead) {
      this.#lose("it is of no use here at present");
      await session.unlock();
    } else if (this.#isLeader || !mayLead) {
      await session.check();
    } else if ((await session.tryLock()) && !ended.aborted) {
      this.#isLeader = true;
      this.#parts.onGained();
    }
  }

  #connected(): void {
    this.#isConnected = true;
    this.#problem = undefined;
    this.#parts.onChange();
  }

  #disconnected(reason: string): void {
    this.#isConnected = false;
    this.#problem = reason;
    this.#lose(reason);
  }

  #lose(reason: string): void {
    if (!this.#isLeader) return;
    this.#isLeader = false;
    this.#parts.onLost(reason);
  }
}
