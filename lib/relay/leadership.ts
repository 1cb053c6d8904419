import { Subject } from "rxjs";
import type { SessionConfig } from "../database/session-config";
import type { NotificationSource } from "../notifications/notifier";
import { Supervisor } from "../notifications/supervisor";
import { LockSession } from "./lock-session";

export interface LeadershipReport {
  /** True while the session is connected in which the relay has the lock, or tries for it. */
  readonly isConnected: boolean;
  /** Number of sessions lost, or given up as dead. */
  readonly reconnects: number;
  /** Why it is not connected, in words; undefined while it is. */
  readonly problem: string | undefined;
}

/** Interval at which the lead is checked, or tried for: the longest time for which a killed leader goes unnoticed. */
const checkIntervalMs = 1_000;
const maxReconnectDelayMs = 5_000;

/**
 * Ensures that one relay of a schema leads: the one that holds the advisory lock. The lock is tried for again and again
 * rather than waited for in the server, since a waiting statement keeps its snapshot, and vacuum could clean up nothing
 * meanwhile.
 */
export class Leadership extends Supervisor<LockSession> {
  /** Emits when the lead, or the report, has changed. A lost lead is emitted in the moment in which it is uncertain. */
  readonly changes$ = new Subject<void>();
  readonly #config: SessionConfig;
  readonly #key: string;
  readonly #notifierGraceMs: number;
  #isLeader = false;
  #isClosed = false;
  #notifierLostAt: number | undefined = -Infinity;
  #reconnects = 0;
  #problem: string | undefined = "not connected yet";

  /**
   * Leads only while `notifier` is connected, and for a grace period after that: another relay may have a connection.
   */
  constructor(config: SessionConfig, schema: string, notifier: NotificationSource, notifierGraceMs: number) {
    super({ maxDelayMs: maxReconnectDelayMs, checkIntervalMs, keepsProcessAlive: true });
    this.#config = config;
    this.#key = `kojin-postgres relay ${schema}`;
    this.#notifierGraceMs = notifierGraceMs;
    notifier.status$.subscribe((status) => {
      if (status === "listening") this.#notifierLostAt = undefined;
      else this.#notifierLostAt ??= performance.now();
    });
  }

  get isLeader(): boolean {
    return this.#isLeader;
  }

  /** Why the lead was lost. */
  get lossReason(): string {
    return this.#problem ?? "the notifier is not connected";
  }

  get report(): LeadershipReport {
    return { isConnected: this.session !== undefined, reconnects: this.#reconnects, problem: this.#problem };
  }

  /** Gives up the lead, and disconnects. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.stop(new Error("The relay was closed"));
  }

  protected get isNeeded(): boolean {
    return !this.#isClosed;
  }

  protected async connect(life: AbortController): Promise<LockSession> {
    return LockSession.open(this.#config.resolve(), this.#key, life);
  }

  protected async check(session: LockSession): Promise<void> {
    const mayLead = this.#mayLead();
    if (this.#isLeader && !mayLead) {
      this.#isLeader = false;
      this.changes$.next();
      await session.unlock();
    } else if (this.#isLeader || !mayLead) {
      await session.check();
    } else if ((await session.tryLock()) && session === this.session) {
      this.#isLeader = true;
      this.changes$.next();
    }
  }

  protected onConnected(): void {
    this.#problem = undefined;
    this.changes$.next();
    void this.checkNow();
  }

  /** Synchronous, before anything else: another relay may have the lock already. */
  protected onLost({ message }: Error): void {
    this.#isLeader = false;
    this.#reconnects += 1;
    this.#problem = message;
    this.changes$.next();
  }

  protected onFailed({ message }: Error): void {
    this.#problem = message;
    this.changes$.next();
  }

  #mayLead(): boolean {
    if (this.#notifierLostAt === undefined) return true;
    return this.#isLeader && performance.now() - this.#notifierLostAt < this.#notifierGraceMs;
  }
}
