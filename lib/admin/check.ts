import type { Database } from "../database/database";
import type { Health } from "./health";
import type { Probe } from "./probe";
import type { InspectionStatements } from "./statements";

/** What one check has found. */
export interface Finding {
  /** `problem`: waits are slow, deaf or fail for it. `warning`: they may become so. `unknown`: it could not be looked at. */
  readonly verdict: "ok" | "warning" | "problem" | "unknown";
  readonly finding: string;
  /** What to do; undefined where nothing is to be done. */
  readonly remedy: string | undefined;
}

/** What checks look at, and what was found before them. */
export interface CheckContext {
  readonly database: Database;
  readonly schema: string;
  readonly channel: string;
  readonly texts: InspectionStatements;
  readonly timeoutMs: number;
  /** 0 where nothing was migrated, undefined if this role may not know. */
  readonly schemaVersion: number | undefined;
  /** Read once LISTEN was confirmed, or given up. */
  readonly health: Health;
  /** Name of the notifier, such as `NATS`; undefined for LISTEN. */
  readonly notifier: string | undefined;
  /** What is wrong with hearing, or telling, in words. */
  readonly notifierProblem: string | undefined;
  readonly ask: <Row extends unknown[]>(text: string, values?: unknown[]) => Promise<Row[]>;
  readonly probe: () => Promise<Probe>;
}

export type Check = (context: CheckContext) => Promise<Finding>;

export const ok = (finding: string): Finding => ({ verdict: "ok", finding, remedy: undefined });
export const warning = (finding: string, remedy: string): Finding => ({ verdict: "warning", finding, remedy });
export const problem = (finding: string, remedy: string): Finding => ({ verdict: "problem", finding, remedy });
export const unknown = (finding: string, remedy?: string): Finding => ({ verdict: "unknown", finding, remedy });
